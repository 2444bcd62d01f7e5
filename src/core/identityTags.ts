const IDENTITY_TAGS = 'identity_tags'

/**
 * A decoded value without identity tags, which no view for people or programs has (invariant 6): left out at any depth,
 * whatever the event, since a later type may carry them too. `leaf` says how byte strings are shown.
 */
export const withoutIdentityTags = (
  value: unknown,
  leaf: (bytes: Uint8Array) => unknown = (bytes) => bytes,
): unknown => {
  if (value instanceof Uint8Array) return leaf(value)
  if (Array.isArray(value)) return value.map((one) => withoutIdentityTags(one, leaf))
  if (typeof value !== 'object' || value === null) return value
  const shown: Record<string, unknown> = Object.create(null)
  for (const [name, member] of Object.entries(value))
    if (name !== IDENTITY_TAGS) shown[name] = withoutIdentityTags(member, leaf)
  return shown
}
