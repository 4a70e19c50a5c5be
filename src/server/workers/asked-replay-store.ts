import { Denial } from '../../decision/denials.js'
import type { ReplayStore } from '../../sources/replay-store.js'
import { SILENCE } from './channel.js'

/** The primary does nothing that takes long; a client should not wait for one that hangs. Milliseconds. */
const DEADLINE_MS = 2_000

/** Asks the primary; resolves with `SILENCE` when it does not answer. */
type TakeOnce = (
  once: { readonly key: string; readonly seconds: number },
  deadlineMs: number,
) => Promise<boolean | string | typeof SILENCE>

/** The replay store of the primary, so that a proof is used up for all workers at once. No answer is never a pass. */
export function askedReplayStore(takeOnce: TakeOnce): ReplayStore {
  return {
    takeOnce: async (key, seconds) => {
      const answer = await takeOnce({ key, seconds }, DEADLINE_MS)
      if (typeof answer === 'boolean') return answer
      return new Denial('store_unavailable', answer === SILENCE ? 'the primary process is silent' : answer)
    },
  }
}
