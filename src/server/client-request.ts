import { IncomingMessage } from 'node:http'

/**
 * A request as node:http reads it. Once an answer is written, node:http reads away what is left of its request, also where
 * nothing is: the stream would go through its whole end for nobody. So it may never say `end` or `close` to those who come to
 * listen later. Newer versions of Node (26) have a way of their own, and do not call this.
 */
export class ClientRequest extends IncomingMessage {
  override resume(): this {
    const isRead = this.complete && this.readableLength === 0 && this.listenerCount('end') === 0
    return isRead ? this : super.resume()
  }
}
