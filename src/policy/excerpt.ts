const LIMIT = 80

/** A value from outside for the operator's log: quoted, escaped and at most 80 characters of it. Never for a token. */
export function excerpt(value: string): string {
  return JSON.stringify(value.length > LIMIT ? `${value.slice(0, LIMIT)}…` : value)
}
