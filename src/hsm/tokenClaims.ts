import type { PinMemory } from './pinMemory.ts'

/** What a backend needs of its service to come up. */
export interface Shared {
  readonly pins: PinMemory
  /** Whether the token may be this backend's: no two share one, or each would sweep the other's keys. */
  claim(token: string): boolean
}

/** Who has which token, by what the token says of itself: two libraries, or two labels, may lead to one. */
export const createClaims = () => {
  const owners = new Map<string, string>()
  const refused = new Set<string>()
  const release = (id: string): void => {
    refused.delete(id)
    for (const [token, owner] of owners) if (owner === id) owners.delete(token)
  }
  return {
    claim(id: string, token: string): boolean {
      const owner = owners.get(token)
      if (owner === id) return true
      release(id)
      if (owner === undefined) owners.set(token, id)
      else refused.add(id)
      return owner === undefined
    },
    wasRefused: (id: string) => refused.has(id),
    release,
  }
}
