import { describe, expect, it } from 'vitest'
import { createChain } from '../../../src/authn/chain.ts'
import type { Authentication, Authenticator } from '../../../src/core/ports.ts'

const always = (answer: Authentication): Authenticator & { asked: number } => ({
  asked: 0,
  async authenticate() {
    this.asked += 1
    return answer
  },
})
const principal = { id: 'x', type: 'User', attributes: {}, method: 'fake' }
const signal = AbortSignal.timeout(60_000)
const admitting = () => always({ kind: 'authenticated', principal })

describe('a chain', () => {
  it('lets the first that knows the kind decide, and asks nobody after it', async () => {
    const [stranger, refusing, last] = [
      always({ kind: 'not_mine' }),
      always({ kind: 'refused', reason: 'expired' }),
      admitting(),
    ]
    const answer = await createChain([stranger, refusing, last]).authenticate({ authorization: 'Bearer x' }, signal)
    expect(answer).toEqual({ kind: 'refused', reason: 'expired' })
    expect([stranger.asked, refusing.asked, last.asked]).toEqual([1, 1, 0])
  })

  it('admits by a later one what the earlier ones do not know', async () => {
    const chain = createChain([always({ kind: 'not_mine' }), admitting()])
    expect(await chain.authenticate({ authorization: 'Bearer x' }, signal)).toEqual({
      kind: 'authenticated',
      principal,
    })
  })

  it.each([
    ['missing', {}],
    ['unknown_kind', { authorization: 'Basic x' }],
    ['unknown_kind', { certificate: { commonName: 'x' } }],
  ])('refuses as %s what nobody knows: %j', async (reason, credentials) => {
    const chain = createChain([always({ kind: 'not_mine' }), always({ kind: 'not_mine' })])
    expect(await chain.authenticate(credentials, signal)).toEqual({ kind: 'refused', reason })
  })

  it('of nobody lets nobody in', async () => {
    const answer = await createChain([]).authenticate({ authorization: 'Bearer x' }, signal)
    expect(answer).toEqual({ kind: 'refused', reason: 'not_configured' })
  })
})
