/**
 * JSON with one spelling for each value: members sorted by code unit, no spaces, members that are undefined left out.
 * Throws on what JSON cannot say (a function, NaN), so two different values never share a text.
 */
export const toCanonicalJson = (value: unknown): string => {
  if (typeof value === 'string' || typeof value === 'boolean') return JSON.stringify(value)
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(toCanonicalJson).join(',')}]`
  if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => `${JSON.stringify(name)}:${toCanonicalJson(member)}`)
    return `{${members.join(',')}}`
  }
  throw new TypeError('a question holds a value that JSON cannot express')
}
