/** The first of them are spent on compiling. */
const ROUNDS = 20
const ROUND_MS = 40
const BATCH = 200

/** Least processor time of one operation in nanoseconds, over several rounds; what else runs on the machine hardly shows. */
export function measure(operation: () => unknown): number {
  const rounds = Array.from({ length: ROUNDS }, () => {
    const [start, before] = [performance.now(), cpuNow()]
    let count = 0
    for (; performance.now() - start < ROUND_MS; count += BATCH) for (let i = 0; i < BATCH; i++) operation()
    return (cpuNow() - before) / count
  })
  return Math.min(...rounds)
}

/** The same of an operation that is awaited. */
export async function measureAwaited(operation: () => Promise<unknown>): Promise<number> {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const [start, before] = [performance.now(), cpuNow()]
    let count = 0
    for (; performance.now() - start < ROUND_MS; count += BATCH)
      for (let i = 0; i < BATCH; i++) await operation()
    best = Math.min(best, (cpuNow() - before) / count)
  }
  return best
}

/** Nanoseconds that this process has run, collection of garbage included. */
function cpuNow(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}
