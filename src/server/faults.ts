import { faultFields, type Logger } from '../observe/logger.js'

/**
 * A fault outside every request must not end the service for all others; verdicts do not outlive their request, so none can
 * be left half made. It is logged with its stack (docs/decisions/0012).
 */
export function serveOnAfterFaults(log: Logger): void {
  const tell = (fault: unknown) => log.error(faultFields(fault), 'fault outside a request')
  process.on('uncaughtException', tell)
  process.on('unhandledRejection', tell)
}
