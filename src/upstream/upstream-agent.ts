/** Agents of node:http for one upstream, without what makes connections that several clients share unsafe. */
import http from 'node:http'
import https from 'node:https'
import { isIP, type Socket } from 'node:net'
import type { Upstream } from '../policy/upstream.js'

/** Milliseconds. Below the 5 s after which Node, Apache and others close an idle connection of their own accord. */
export const IDLE_MS = 4000

/** Where an upstream listens. */
export interface Origin {
  readonly protocol: 'http:' | 'https:'
  /** A name or an address; IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

/** Throws when the URL is not plain http or https: a path of its own would change the path that was matched. */
export function originOf(text: string): Origin {
  const url = new URL(text)
  const { protocol } = url
  if ((protocol !== 'http:' && protocol !== 'https:') || url.pathname !== '/' || url.search !== '')
    throw new Error(`an upstream is http or https and has no path: ${text}`)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return { protocol, host, port: url.port === '' ? (protocol === 'https:' ? 443 : 80) : Number(url.port) }
}

/** `keepAlive`: connections stay open between requests. */
export function createAgent(origin: Origin, upstream: Upstream, keepAlive: boolean): http.Agent {
  const { connections } = upstream
  const options: http.AgentOptions = {
    keepAlive,
    maxSockets: connections,
    maxFreeSockets: connections,
    timeout: IDLE_MS,
  }
  const agent =
    origin.protocol === 'http:'
      ? new http.Agent(options)
      : new https.Agent({
          ...options,
          ...(upstream.ca === null ? {} : { ca: upstream.ca }),
          ALPNProtocols: ['http/1.1'],
          // Without it, Node verifies the upstream's certificate against the Host that the client chose.
          servername: isIP(origin.host) === 0 ? origin.host : '',
        })
  patchNewSockets(agent)
  if (keepAlive) distrustIdleBytes(agent)
  return agent
}

/**
 * Bytes on an idle connection answer no request. Node drops them and keeps the connection; what follows of them would
 * be taken for the answer to the next request, which may be another client's (response queue poisoning, CWE-444).
 */
function distrustIdleBytes(agent: http.Agent): void {
  const keep = agent.keepSocketAlive.bind(agent)
  const reuse = agent.reuseSocket.bind(agent)
  // The types say void; the result decides whether the socket is kept.
  agent.keepSocketAlive = stream => {
    const kept = keep(stream) as unknown as boolean
    if (kept) stream.on('data', destroyThis)
    return kept
  }
  agent.reuseSocket = (stream, request) => {
    stream.removeListener('data', destroyThis)
    reuse(stream, request)
  }
}

function destroyThis(this: Socket): void {
  this.destroy()
}

/** For the sockets of an agent. */
function patchNewSockets(agent: http.Agent): void {
  const { createConnection } = agent as unknown as Connector
  Object.assign(agent, {
    createConnection(this: http.Agent, ...parameters: unknown[]): Socket {
      const socket = createConnection.apply(this, parameters)
      readOnAfterFailedWrites(socket)
      return socket
    },
  })
}

/**
 * A write that fails says that the upstream takes no more, and node:net then throws away what it has said before, such
 * as the 413 that explains it. Here a failed write just never ends; reading on finds the answer, or the end.
 */
export function readOnAfterFailedWrites(socket: Socket): void {
  const write = socket._write.bind(socket)
  const writev = socket._writev?.bind(socket)
  socket._write = (chunk, encoding, done) => write(chunk, encoding, unlessFailed(done))
  if (writev !== undefined) socket._writev = (chunks, done) => writev(chunks, unlessFailed(done))
}

/** Undoes `readOnAfterFailedWrites`: what the prototype has counts again. */
export function failOnFailedWrites(socket: Socket): void {
  Reflect.deleteProperty(socket, '_write')
  Reflect.deleteProperty(socket, '_writev')
}

/** The types leave it out; the documentation has it. */
interface Connector {
  createConnection(...parameters: unknown[]): Socket
}

type Done = (error?: Error | null) => void

function unlessFailed(done: Done): Done {
  return error => {
    if (error === undefined || error === null) done()
  }
}
