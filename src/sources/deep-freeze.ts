/** Freezes claims: facts are shared by every request with the same token. The depth is bounded by the reader of the JSON. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value)
    for (const member of Object.values(value)) deepFreeze(member)
  }
  return value
}
