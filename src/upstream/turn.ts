/**
 * What one turn of the event loop brings is done together: all of it is read, then all of it is judged, then all of it is
 * written. So each step finds its code in the caches of the processor, and a peer that sleeps is woken once for many
 * writes instead of once for each. Nobody waits for more to come: alone, a request goes straight through.
 * @see Larus and Parkes, Using Cohort Scheduling to Enhance Server Performance, USENIX 2002
 */
class Step {
  readonly #schedule: (run: () => void) => unknown
  #works: (() => void)[] = []

  constructor(schedule: (run: () => void) => unknown) {
    this.#schedule = schedule
  }

  add(work: () => void): void {
    if (this.#works.push(work) === 1) this.#schedule(this.#run)
  }

  readonly #run = (): void => {
    const works = this.#works
    this.#works = []
    for (const work of works) {
      try {
        work()
      } catch (fault) {
        // One that fails must not take those of other clients with it. Outside of this loop it is a fault like any other.
        setImmediate(() => {
          throw fault
        })
      }
    }
  }
}

const judging = new Step(setImmediate)
const writing = new Step(process.nextTick)

/** Runs `judge` when this turn has brought all that it brings, in the order of the calls. */
export function onceAllIsRead(judge: () => void): void {
  judging.add(judge)
}

/** Runs `write` after what is judged at present, and not before: a judgement that waits for something is written later. */
export function onceAllIsJudged(write: () => void): void {
  writing.add(write)
}
