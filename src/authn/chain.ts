import type { Authenticator } from '../core/ports.ts'

/**
 * Asks each authenticator in turn; the first that recognizes the credential's *kind* decides, for good or ill. A refusal
 * is never given to the next one to reconsider, so adding an authenticator cannot weaken those before it.
 */
export const createChain = (authenticators: readonly Authenticator[]): Authenticator => ({
  async authenticate(credentials, signal) {
    if (authenticators.length === 0) return { kind: 'refused', reason: 'not_configured' }
    for (const authenticator of authenticators) {
      const answer = await authenticator.authenticate(credentials, signal)
      if (answer.kind !== 'not_mine') return answer
    }
    const sentNothing = credentials.authorization === undefined && credentials.certificate === undefined
    return { kind: 'refused', reason: sentNothing ? 'missing' : 'unknown_kind' }
  },
})
