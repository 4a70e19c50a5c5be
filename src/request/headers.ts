/** Header fields as they came, in order: name, value, name, value … (the shape of `rawHeaders` in node:http). */
export type RawHeaders = readonly string[]

/**
 * Every value of a field, by its lower-case name. Node hides a second Authorization or Host and joins others with
 * a comma, so nothing that decides about access reads the joined view.
 */
export function valuesOf(headers: RawHeaders, name: string): string[] {
  const values: string[] = []
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const field = headers[i] as string
    if (field.length === name.length && field.toLowerCase() === name) values.push(headers[i + 1] as string)
  }
  return values
}
