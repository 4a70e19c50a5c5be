import type { ChildProcess } from 'node:child_process'

/** What `node:cluster` hands to a worker, as far as it shows: a connection, and the number by which the worker takes it. */
interface Handed {
  readonly act?: unknown
  readonly seq?: unknown
}

/**
 * Ends the connections that a worker was given and had not taken when it died. `node:cluster` forgets them: nobody would ever
 * answer their clients, nor close them. It looks at messages that are Node's own affair; were they to change, clients of a worker
 * that dies would wait again, and nothing else would.
 */
export function endConnectionsUnderWay(child: ChildProcess): void {
  const underWay = new Map<unknown, { readonly close: () => void }>()
  const send = child.send.bind(child) as (...message: readonly unknown[]) => boolean
  child.send = (...message: readonly unknown[]) => {
    const [{ act, seq }, handle] = message as [Handed, { close: () => void } | undefined]
    if (act === 'newconn' && handle !== undefined) underWay.set(seq, handle)
    return send(...message)
  }
  child.on('internalMessage', (message: { readonly ack?: unknown }) => underWay.delete(message.ack))
  // Not `disconnect`, which never comes when a connection is under way.
  child.once('exit', () => {
    for (const connection of underWay.values()) connection.close()
  })
}
