/** What a run was measured on, so that a reader can tell which figures compare. */
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly node: string
  readonly opensslOfNode: string
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `Linux ${release()}`,
    node: process.version,
    opensslOfNode: process.versions.openssl,
  }
}

/** Milliseconds of all cores since the start of the machine. */
interface Times {
  readonly busy: number
  readonly stolen: number
}

const MS_PER_TICK = 10

export function times(): Times {
  const [, line = ''] = /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8')) ?? []
  // user nice system idle iowait irq softirq steal
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(' ').map(Number)
  return { busy: (user + nice + system + irq + softirq) * MS_PER_TICK, stolen: steal * MS_PER_TICK }
}

/** Waits until others let a quarter of a second pass almost unused, or until the time is over. */
export async function quietMoment(seconds: number): Promise<void> {
  const deadline = Date.now() + seconds * 1000
  while (Date.now() < deadline) {
    const before = times()
    await sleep(250)
    const after = times()
    if (after.busy - before.busy <= 60 && after.stolen - before.stolen <= 20) return
  }
}
