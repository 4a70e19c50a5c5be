import { type AddressInfo, connect, createServer, type Server } from 'node:net'

export type ListenAddress = { readonly host: string; readonly port: number }

/** Reads `host:port`, as in `127.0.0.1:8443` or `[::1]:8443`. */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-f:]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text)
  const port = Number(match?.[3])
  if (!match || port > 65535) throw new Error(`"${text}" is not an address of the form host:port`)
  return { host: match[1] ?? match[2] ?? '', port }
}

/** Ports that were free a moment ago. Another process may still take one first; then starting fails and says so. */
export async function freePorts(count: number, host = '127.0.0.1'): Promise<number[]> {
  // All are held at once, so that no two are the same.
  const servers = await Promise.all(Array.from({ length: count }, () => listenOn(host, 0)))
  const ports = servers.map(server => (server.address() as AddressInfo).port)
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
  return ports
}

/** Whether something else already listens there. */
export async function portIsTaken({ host, port }: ListenAddress): Promise<boolean> {
  try {
    const server = await listenOn(host, port)
    await new Promise(resolve => server.close(resolve))
    return false
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return true
    throw error
  }
}

/** Whether something accepts a connection there within the time (in milliseconds). */
export async function acceptsConnections({ host, port }: ListenAddress, timeoutMs = 500): Promise<boolean> {
  return await new Promise(resolve => {
    const socket = connect({ host, port, timeout: timeoutMs })
    const finish = (accepted: boolean) => {
      socket.destroy()
      resolve(accepted)
    }
    socket.once('connect', () => finish(true))
    socket.once('timeout', () => finish(false))
    socket.once('error', () => finish(false))
  })
}

async function listenOn(host: string, port: number): Promise<Server> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, host, resolve)
  })
  return server
}
