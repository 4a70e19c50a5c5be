/** Whether a source has a test of this title. */
export function hasTest(source: string, title: string): boolean {
  const literal = title.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`\\btest\\(\\s*(['"\`])${literal}\\1`).test(source)
}
