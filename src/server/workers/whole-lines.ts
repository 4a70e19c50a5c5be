/** No line of the log is that long; what is comes from a process that writes something else. Characters. */
const LONGEST_LINE = 4 * 1024 * 1024

/**
 * Passes text on in whole lines: several processes write to one log, and parts of their lines must not mix. What is left
 * without an end, or never ends, is dropped: half a line is no JSON.
 */
export function wholeLines(write: (lines: string) => void): (text: string) => void {
  let rest = ''
  let skipping = false
  return text => {
    const end = text.lastIndexOf('\n')
    if (end === -1) {
      rest += text
    } else {
      const lines = rest + text.slice(0, end + 1)
      const begin = skipping ? lines.indexOf('\n') + 1 : 0
      skipping = false
      rest = text.slice(end + 1)
      if (begin < lines.length) write(lines.slice(begin))
    }
    if (rest.length > LONGEST_LINE) {
      rest = ''
      skipping = true
    }
  }
}
