import { faultFields } from '../observe/logger.js'
import { serveOnAfterFaults } from '../server/faults.js'
import { type Server, startServer } from '../server/start.js'
import { sayProblems } from './check.js'
import { type Invocation, policyFile } from './commands.js'
import { EXIT, fail, say } from './output.js'
import { version } from './version.js'

/** `postern serve`: runs until SIGTERM or SIGINT. */
export async function serve(invocation: Invocation): Promise<number> {
  const file = policyFile(invocation)
  let server: Server | Awaited<ReturnType<typeof startServer>>
  try {
    server = await startServer(file, invocation.environment, version())
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    fail(
      message,
      ...(code === 'EADDRINUSE'
        ? ['another process has the port; change server.listen or admin.listen']
        : []),
    )
    return EXIT.failure
  }
  if (!('stop' in server)) {
    sayProblems(server)
    return EXIT.configuration
  }
  say(
    `serving https://${server.address.host}:${server.address.port}, admin http://${server.admin.host}:${server.admin.port}`,
  )
  return untilStopped(server)
}

/** SIGHUP reloads. SIGTERM or SIGINT drains; a second one ends at once, for a person who does not want to wait. */
export function untilStopped(server: Server): Promise<number> {
  return new Promise(resolve => {
    let stopping = false
    const stop = () => {
      if (stopping) process.exit(EXIT.failure)
      stopping = true
      server.stop().then(
        () => resolve(EXIT.ok),
        async fault => {
          server.log.error(faultFields(fault), 'not stopped as it should be')
          await server.log.flush()
          resolve(EXIT.failure)
        },
      )
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
    process.on('SIGHUP', () => void server.reload('SIGHUP'))
    serveOnAfterFaults(server.log)
  })
}
