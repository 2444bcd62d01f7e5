import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { MaterialRef, TokenPlace } from '../../src/core/instruction.ts'
import type { Hsm } from '../../src/core/ports.ts'
import { Sensitive } from '../../src/core/sensitive.ts'
import { BACKEND, calm, codeOf, HEADER, randomLid, unwrap } from '../fixtures/hsmRequests.ts'

/** An HSM with one configured backend, and tokens that may be opened beside it. */
export interface TokensUnderTest extends AsyncDisposable {
  readonly hsm: Hsm
  /** Where the token of this label is: `token-a`, `token-b` and `token-planted`, which has a key and no handle key. */
  place(tokenLabel: string): TokenPlace
}

const context = Buffer.from('context')

const makeOn = async (hsm: Hsm, backend: string): Promise<MaterialRef> => {
  const made = { lid: randomLid(), version: 1, spec: 'AES_256' } as const
  const done = await hsm.execute({ kind: 'generateKey', backend, epoch: 1, exportable: false, ...made }, calm)
  return { ...made, ...unwrap(done) }
}
const encryptOn = async (hsm: Hsm, backend: string, key: MaterialRef, text: string): Promise<Uint8Array> => {
  using plaintext = new Sensitive(Buffer.from(text))
  return unwrap(await hsm.execute({ kind: 'encrypt', backend, key, header: HEADER, context, plaintext }, calm)).blob
}
const decryptOn = async (hsm: Hsm, backend: string, key: MaterialRef, blob: Uint8Array): Promise<string> => {
  const done = await hsm.execute({ kind: 'decrypt', backend, key, context, blob }, calm)
  if (!done.ok) return done.error.code
  using plaintext = done.value.plaintext
  return Buffer.from(plaintext.expose()).toString()
}

/** What every `Hsm` with more than one backend promises the pipeline. */
export const describeBackends = (name: string, open: () => Promise<TokensUnderTest>) =>
  describe(name, () => {
    let under: TokensUnderTest
    let hsm: Hsm
    const states = (): Readonly<Record<string, string>> =>
      Object.fromEntries(hsm.status().map(({ backend, state }) => [backend, state]))
    const openNew = async (backend: string, connection: TokenPlace) =>
      hsm.execute({ kind: 'openBackend', backend, connection }, calm)
    beforeAll(async () => {
      under = await open()
      hsm = under.hsm
      unwrap(await hsm.createGenesis(BACKEND, calm))
    })
    afterAll(() => under[Symbol.asyncDispose]())

    it('opens a token without a handle key as DOWN, and makes the key when asked, once', async () => {
      unwrap(await hsm.openBackend('a', under.place('token-a')))
      expect(states()).toEqual({ [BACKEND]: 'HEALTHY', a: 'DOWN' })
      expect(unwrap(await hsm.genesisState('a', calm))).toEqual({ handleKey: false, ledgerRoot: false, others: 0 })
      expect(unwrap(await hsm.createHandleKey('a', calm))).toBe('made')
      expect(unwrap(await hsm.createHandleKey('a', calm))).toBe('found')
      expect(unwrap(await hsm.genesisState('a', calm))).toEqual({ handleKey: true, ledgerRoot: false, others: 0 })
      expect(states()).toEqual({ [BACKEND]: 'HEALTHY', a: 'HEALTHY' })
    })

    it('finds the handle key and the keys of a backend that was closed and opened again', async () => {
      const key = await makeOn(hsm, 'a')
      const blob = await encryptOn(hsm, 'a', key, 'kept')
      expect(await hsm.closeBackend('a')).toBe(true)
      expect(await hsm.closeBackend('a')).toBe(false)
      expect(await decryptOn(hsm, 'a', key, blob)).toBe('HSM_UNAVAILABLE')
      expect(states()).toEqual({ [BACKEND]: 'HEALTHY' })
      expect(unwrap(await openNew('a', under.place('token-a')))).toEqual({ handleKey: 'found' })
      expect(await decryptOn(hsm, 'a', key, blob)).toBe('kept')
    })

    it('opens a new token and makes its handle key in one instruction', async () => {
      expect(unwrap(await openNew('b', under.place('token-b')))).toEqual({ handleKey: 'made' })
      expect(unwrap(await openNew('b', under.place('token-b')))).toEqual({ handleKey: 'found' })
      expect(states()).toEqual({
        [BACKEND]: 'HEALTHY',
        a: 'HEALTHY',
        b: 'HEALTHY',
      })
    })

    it('makes no handle key on a token that holds objects of this ledger, and leaves it closed', async () => {
      expect(codeOf(await openNew('planted', under.place('token-planted')))).toBe('INVALID_REQUEST')
      expect(states()).not.toHaveProperty('planted')
      unwrap(await hsm.openBackend('planted', under.place('token-planted')))
      expect(unwrap(await hsm.genesisState('planted', calm))).toMatchObject({ handleKey: false, others: 1 })
      expect(codeOf(await hsm.destroyObjects('planted', ['00'.repeat(16)], calm))).toBe('HSM_UNAVAILABLE')
      await hsm.closeBackend('planted')
    })

    it.each<[string, Partial<TokenPlace>]>([
      ['a library that is not allowed', { libPath: '/tmp/other.so' }],
      ['a library by another spelling of its path', { libPath: '/usr/lib/../lib/x.so' }],
      ['a PIN in another directory', { pinRef: '../pin' }],
      ['a PIN by an absolute path', { pinRef: '/etc/hostname' }],
      ['a PIN in a directory below', { pinRef: 'a/b' }],
      ['a PIN that is the directory', { pinRef: '.' }],
      ['a PIN with a NUL', { pinRef: 'pin\0x' }],
      ['a PIN without a name', { pinRef: '' }],
    ])('refuses %s', async (_name, wrong) => {
      const place = { ...under.place('token-c'), ...wrong }
      expect(codeOf(await hsm.openBackend('c', place))).toBe('INVALID_REQUEST')
      expect(codeOf(await openNew('c', place))).toBe('INVALID_REQUEST')
      expect(states()).not.toHaveProperty('c')
    })

    it('gives no token to two backends, and no id to two tokens', async () => {
      expect(codeOf(await hsm.openBackend('c', under.place('token-a')))).toBe('ALREADY_EXISTS')
      expect(codeOf(await hsm.openBackend('a', under.place('token-c')))).toBe('ALREADY_EXISTS')
      expect(codeOf(await hsm.openBackend(BACKEND, under.place('token-c')))).toBe('ALREADY_EXISTS')
      expect(codeOf(await hsm.openBackend('a', under.place('token-a')))).toBe('OK')
      expect(Object.keys(states())).toEqual([BACKEND, 'a', 'b'])
    })

    it('waits for a token that is away, unless it was to be used at once', async () => {
      expect(codeOf(await openNew('away', under.place('absent')))).toBe('HSM_UNAVAILABLE')
      expect(states()).not.toHaveProperty('away')
      expect(codeOf(await hsm.openBackend('away', under.place('absent')))).toBe('OK')
      expect(states()).toMatchObject({ away: 'DOWN', [BACKEND]: 'HEALTHY', a: 'HEALTHY' })
      expect(codeOf(await hsm.createHandleKey('away', calm))).toBe('HSM_UNAVAILABLE')
      expect(await hsm.closeBackend('away')).toBe(true)
    })

    it('re-encrypts from one backend to another, and back', async () => {
      const there = await makeOn(hsm, 'a')
      const here = await makeOn(hsm, BACKEND)
      const blob = await encryptOn(hsm, 'a', there, 'on its way')
      const move = async (from: { backend: string; key: MaterialRef; blob: Uint8Array }, to: typeof from) => {
        const header = Buffer.alloc(80, 0x42)
        const ends = { source: from.key, destination: to.key, sourceContext: context, context, header }
        const both = { sourceBackend: from.backend, backend: to.backend, blob: from.blob }
        return hsm.execute({ kind: 'reEncrypt', ...ends, ...both }, calm)
      }
      const a = { backend: 'a', key: there, blob }
      const main = { backend: BACKEND, key: here, blob: new Uint8Array(0) }
      const moved = unwrap(await move(a, main)).blob
      expect(Buffer.from(moved.subarray(0, 80))).toEqual(Buffer.alloc(80, 0x42))
      expect(await decryptOn(hsm, BACKEND, here, moved)).toBe('on its way')
      expect(await decryptOn(hsm, BACKEND, here, blob)).toBe('INVALID_CIPHERTEXT')
      const back = unwrap(await move({ ...main, blob: moved }, a)).blob
      expect(await decryptOn(hsm, 'a', there, back)).toBe('on its way')
      expect(codeOf(await move({ ...a, blob: moved }, main))).toBe('INVALID_CIPHERTEXT')
      expect(codeOf(await move(a, { ...main, backend: 'none' }))).toBe('HSM_UNAVAILABLE')
      expect(codeOf(await move({ ...a, backend: 'none' }, main))).toBe('HSM_UNAVAILABLE')
    })

    it('opens no handle that another backend sealed, though it is on the same token', async () => {
      const key = await makeOn(hsm, 'b')
      const blob = await encryptOn(hsm, 'b', key, 'bound')
      expect(await hsm.closeBackend('b')).toBe(true)
      expect(unwrap(await openNew('renamed', under.place('token-b')))).toEqual({ handleKey: 'found' })
      expect(await decryptOn(hsm, 'renamed', key, blob)).toBe('KEY_NOT_USABLE')
      expect(unwrap(await hsm.execute({ kind: 'closeBackend', backend: 'renamed' }, calm))).toEqual({ closed: true })
      unwrap(await openNew('b', under.place('token-b')))
      expect(await decryptOn(hsm, 'b', key, blob)).toBe('bound')
    })

    it('does not close a backend of the configuration', async () => {
      expect(await hsm.closeBackend(BACKEND)).toBe(false)
      expect(states()).toMatchObject({ [BACKEND]: 'HEALTHY' })
    })
  })
