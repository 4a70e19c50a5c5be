/** The linter of Prometheus, where the machine has it. */
import { execFileSync } from 'node:child_process'

/** Why tests that need it are skipped, or false. */
export function withoutPromtool(): string | false {
  try {
    execFileSync('promtool', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'no promtool command'
  }
}

/** What `promtool check metrics` says of the text of /metrics; '' when all is well. */
export function checkMetrics(text: string): string {
  return execFileSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
}
