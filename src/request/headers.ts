/** Header fields as they came, in order: name, value, name, value … (the shape of `rawHeaders` in node:http). */
export type RawHeaders = readonly string[]

/** Most fields that are asked for are not there. */
const NONE: readonly string[] = []

/**
 * Every value of a field, by its lower-case name. Node hides a second Authorization or Host and joins others with
 * a comma, so nothing that decides about access reads the joined view.
 */
export function valuesOf(headers: RawHeaders, name: string): readonly string[] {
  let values: string[] | null = null
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const field = headers[i] as string
    if (field.length !== name.length || field.toLowerCase() !== name) continue
    if (values === null) values = [headers[i + 1] as string]
    else values.push(headers[i + 1] as string)
  }
  return values ?? NONE
}
