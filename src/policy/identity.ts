/**
 * The same text for the same settings, and another for others. Plain JSON would write every Map and Set as `{}`, and a part
 * that was changed in one of them would go on as it was.
 */
export function identityOf(...settings: readonly unknown[]): string {
  return JSON.stringify(settings, (_, value) =>
    value instanceof Map || value instanceof Set ? [value.constructor.name, ...value] : value,
  )
}
