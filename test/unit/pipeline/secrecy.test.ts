import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { OPERATION_NAMES, type OperationName } from '../../../schemas/registry.ts'
import { createKeyedHashes } from '../../../src/core/keyedHash.ts'
import { Sensitive } from '../../../src/core/sensitive.ts'
import { COMPUTING, CONTEXT, createRequests, isZero, PLANTED } from '../../fixtures/everyOperation.ts'
import { holdsText } from '../../fixtures/findText.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

/** All byte arrays of a request or reply body. */
const bytesOf = (body: Readonly<Record<string, unknown>>): Uint8Array[] =>
  Object.values(body).filter((member) => member instanceof Uint8Array)

/** Ways for a request with secrets in it to end; each is armed before the request is sent. */
const ENDINGS: Readonly<Record<string, (stack: PipelineStack, caller: AbortController) => void>> = {
  success: () => undefined,
  'a denial': ({ pdp }) => pdp.script('deny'),
  'no verdict': ({ pdp }) => pdp.script('throw'),
  'an HSM that is away': ({ hsm }) => hsm.setAway(true),
  'an HSM that throws': ({ hsm }) => hsm.throwNext(new Error('a bug')),
  'a fault after the HSM': ({ ports: { faults } }) => {
    faults.afterHsm = () => {
      throw new Error('a bug')
    }
  },
  'a ledger that is away': ({ ports: { faults } }) => {
    faults.append = () => ({ code: 'LEDGER_UNAVAILABLE', message: 'told to fail' })
  },
  'a ledger that throws': ({ ports: { faults } }) => {
    faults.append = () => {
      throw new Error('a bug')
    }
  },
  'a follower': ({ ports: { faults } }) => {
    faults.role = 'follower'
  },
  'a caller that went away before': (_stack, caller) => caller.abort(),
  'a caller that went away after the HSM': ({ ports: { faults } }, caller) => {
    faults.afterHsm = () => caller.abort()
  },
}

describe('invariant 5: secrets are zeroed', () => {
  describe.each(Object.keys(ENDINGS))('after %s', (ending) => {
    test.each(['Encrypt', 'Decrypt', 'Sign', 'Verify', 'GenerateMac', 'VerifyMac'] as const)(
      'the bytes of a %s request are zero',
      async (name) => {
        await using stack = await createPipelineStack({ pdpTimeoutMs: 10 })
        const requests = await createRequests(stack)
        const body = requests[name]()
        const caller = new AbortController()
        ENDINGS[ending]?.(stack, caller)
        const outgoing = await stack.send(name, body, { signal: caller.signal })
        expect(outgoing.ok).toBe(ending === 'success')
        expect(bytesOf(body).length).toBeGreaterThan(0)
        for (const bytes of bytesOf(body)) expect(isZero(bytes)).toBe(true)
      },
    )
  })

  test('bytes anywhere in a request that breaks its schema are zero', async () => {
    await using stack = await createPipelineStack()
    const planted = [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')] as const
    const body = { key_id: planted[0], plaintext: { nested: planted[1] }, extra: [planted[2]] }
    expect(toCode(await stack.send('Encrypt', body))).toBe('INVALID_REQUEST')
    for (const bytes of planted) expect(isZero(bytes)).toBe(true)
  })

  test.each([
    ['Decrypt', 'plaintext'],
    ['GenerateDataKey', 'plaintext_data_key'],
    ['GenerateRandom', 'random_bytes'],
  ] as const)('the secret in the reply of %s is zero once the transport has disposed of it', async (name, field) => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    const outgoing = await stack.send(name, requests[name]())
    if (!outgoing.ok) throw new Error(outgoing.error.code)
    const secret = outgoing.body[field]
    if (!(secret instanceof Uint8Array)) throw new Error('no bytes')
    expect(isZero(secret)).toBe(false)
    expect(stack.ports.outputs.some(({ bytes }) => bytes === secret)).toBe(true)
    outgoing.dispose()
    expect(isZero(secret)).toBe(true)
  })

  test.each(COMPUTING)('a fault between HSM and record leaves no secret output of %s', async (name) => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    const from = stack.ports.outputs.length
    stack.ports.faults.append = ({ events: [event] }) => {
      if (event?.outcome === 'success') throw new Error('a bug')
      return undefined
    }
    expect(toCode(await stack.send(name, requests[name]()))).toBe('INTERNAL')
    const computed = stack.ports.outputs.slice(from)
    expect(computed.length).toBeGreaterThan(0)
    for (const { bytes } of computed) expect(isZero(bytes)).toBe(true)
  })

  test('a Sensitive shows nothing of itself in any rendering', () => {
    const secret = new Sensitive(Buffer.from('planted-secret'))
    const renderings = [
      String(secret),
      `${secret}`,
      JSON.stringify({ secret }),
      inspect({ secret }, { showHidden: true, depth: 9 }),
      Object.values(secret).join(),
      JSON.stringify(Object.entries(secret)),
    ]
    for (const rendering of renderings) expect(holdsText(rendering, 'planted-secret')).toBe(false)
    expect(JSON.stringify({ ...secret })).not.toMatch(/\d{2,3},\d{2,3}/)
  })
})

describe('invariant 6: identity tags never leave', () => {
  const isPlanted = (value: unknown) => holdsText(value, PLANTED.attribute) || holdsText(value, PLANTED.attributeName)

  test('no reply of any operation and no log line has them; PDP questions and the stored ledger do', async () => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    for (const name of OPERATION_NAMES) {
      const outgoing = await stack.send(name, requests[name]())
      expect([name, outgoing.ok, isPlanted(outgoing)]).toEqual([name, true, false])
    }
    expect(isPlanted(stack.log.lines)).toBe(false)
    expect(isPlanted(stack.pdp.asked)).toBe(true)
    expect(isPlanted(stack.ledger.stream.messages.map(({ payload }) => payload))).toBe(true)
  })

  test('no error has them, however a request about them fails', async () => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    const attributes = { [PLANTED.attributeName]: PLANTED.attribute }
    const failing: readonly [OperationName, Readonly<Record<string, unknown>>][] = [
      ['CreateKey', { key_spec: 'AES_256', attributes, tags: [{ key: PLANTED.attributeName, value: 'x' }] }],
      ['CreateKey', { key_spec: 'AES_256', attributes: { ...attributes, _kms_x: PLANTED.attribute } }],
      ['CreateKey', { key_spec: 'AES_256', attributes: { [PLANTED.attributeName]: null } }],
      ['CreateKey', { key_spec: 'AES_256', attributes: { [PLANTED.attributeName]: [[PLANTED.attribute]] } }],
      ['CreateKey', { key_spec: 'AES_256', attributes: PLANTED.attribute }],
    ]
    const answers = []
    for (const [name, body] of failing) answers.push(await stack.send(name, body))
    stack.hsm.setAway(true)
    for (const name of COMPUTING) answers.push(await stack.send(name, requests[name]()))
    stack.pdp.script('deny')
    for (const name of OPERATION_NAMES) answers.push(await stack.send(name, requests[name]()))
    expect(answers.filter(({ ok }) => ok)).toEqual([])
    expect(isPlanted(answers)).toBe(false)
    expect(isPlanted(stack.log.lines)).toBe(false)
  })
})

describe('invariant 7: the encryption context is opaque', () => {
  const isPlanted = (value: unknown) => holdsText(value, PLANTED.context) || holdsText(value, PLANTED.contextName)

  test.each([false, true])(
    'its pairs are in no event, question, log line or error (SHA-256 to the PDP: %s)',
    async (send) => {
      await using stack = await createPipelineStack({ sendContextSha256: send })
      const requests = await createRequests(stack)
      const wrong = { [PLANTED.contextName]: `${PLANTED.context}!` }
      const answers = [await stack.send('Decrypt', { ...requests.Decrypt(), encryption_context: wrong })]
      answers.push(await stack.send('Encrypt', { ...requests.Encrypt(), key_id: 'alias/none' }))
      for (const name of OPERATION_NAMES) answers.push(await stack.send(name, requests[name]()))
      expect(answers.slice(0, 2).map(toCode)).toEqual(['INVALID_CIPHERTEXT', 'KEY_NOT_FOUND'])
      expect(isPlanted(answers)).toBe(false)
      expect(isPlanted(stack.ports.events)).toBe(false)
      expect(isPlanted(stack.ledger.stream.messages.map(({ payload }) => payload))).toBe(false)
      expect(isPlanted(stack.pdp.asked)).toBe(false)
      expect(isPlanted(stack.log.lines)).toBe(false)
      expect(stack.pdp.asked.some(({ context }) => 'context_sha256' in context)).toBe(send)
    },
  )

  test('its record is a hash that depends on the key of the hash, and on every pair', () => {
    const hashes = [1, 2].map((seed) => createKeyedHashes(new Sensitive(Buffer.alloc(32, seed))))
    const of = (n: number, text: string) => Buffer.from(hashes[n]?.hashContext(Buffer.from(text)) ?? []).toString('hex')
    expect(new Set([of(0, 'a'), of(1, 'a'), of(0, 'b'), of(1, 'b')]).size).toBe(4)
    expect(of(0, 'a')).toBe(of(0, 'a'))
  })

  test('an empty context has no hash, and {} is the same as none', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const hashOf = async (context?: object) => {
      const body = { key_id, plaintext: Buffer.from('x'), ...(context ? { encryption_context: context } : {}) }
      await stack.succeed('Encrypt', body)
      return stack.ports.events.at(-1)?.context_hash
    }
    expect(await hashOf()).toBeUndefined()
    expect(await hashOf({})).toBeUndefined()
    expect(await hashOf(CONTEXT)).toHaveLength(32)
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id, plaintext: Buffer.from('x') })
    await stack.succeed('Decrypt', { ciphertext_blob, encryption_context: {} })
  })
})
