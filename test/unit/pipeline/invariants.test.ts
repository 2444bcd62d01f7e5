import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { OPERATION_NAMES } from '../../../schemas/registry.ts'
import type { Outgoing } from '../../../src/core/request.ts'
import { COMPUTING, createRequests, isZero } from '../../fixtures/everyOperation.ts'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

describe('invariant 1: authorization on every operation', () => {
  test.each(OPERATION_NAMES)('%s reaches neither HSM nor a success record without a permit', async (name) => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    stack.pdp.script('deny')
    const { code, calls } = await stack.trace(name, requests[name]())
    expect(code).toBe('ACCESS_DENIED')
    expect(calls.slice(2)).toEqual(['ledger AccessDenied denied ACCESS_DENIED'])
    expect(calls[1]).toMatch(/^pdp kms:/)
  })

  test.each([
    ['ReEncrypt', ['kms:ReEncryptFrom', 'kms:ReEncryptTo']],
    ['CreateKey', ['kms:CreateKey', 'kms:CreateChildKey']],
  ] as const)('%s of two keys asks about both, under two names', async (name, actions) => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    for (const denied of actions) {
      stack.pdp.script(({ action }) => (action === denied ? 'deny' : 'permit'))
      expect(toCode(await stack.send(name, requests[name]()))).toBe('ACCESS_DENIED')
    }
    stack.pdp.script('permit')
    const from = stack.pdp.asked.length
    await stack.succeed(name, requests[name]())
    const asked = stack.pdp.asked.slice(from)
    expect(asked.map(({ action }) => action)).toEqual(actions)
    expect(new Set(asked.map(({ resource }) => resource.id)).size).toBe(2)
  })
})

/** What cannot be undone is recorded before and after the HSM did it. */
const IN_TWO_COMMITS: readonly string[] = ['DestroyKeyVersion']

describe('invariant 2: no result leaves before its record is durable', () => {
  test.each(COMPUTING)(
    '%s: if the append fails, the reply is an error and the computed bytes are zero',
    async (name) => {
      await using stack = await createPipelineStack()
      const requests = await createRequests(stack)
      for (const code of ['LEDGER_UNAVAILABLE', 'OVERLOADED', 'INTERNAL'] as const) {
        const from = stack.ports.outputs.length
        stack.ports.faults.append = ({ events: [event] }) =>
          event?.outcome === 'success' ? { code, message: 'told to fail' } : undefined
        expect(toCode(await stack.send(name, requests[name]()))).toBe(code)
        const computed = stack.ports.outputs.slice(from)
        expect(computed.length).toBeGreaterThan(0)
        for (const { bytes, before } of computed) {
          expect(isZero(before)).toBe(false)
          expect(isZero(bytes)).toBe(true)
        }
      }
    },
  )

  test('the reply comes after the record: an append that never ends is a reply that never comes', async () => {
    await using stack = await createPipelineStack()
    let confirm = () => {}
    const confirmed = new Promise<void>((resolve) => {
      confirm = resolve
    })
    stack.ports.faults.append = async () => {
      await confirmed
      return undefined
    }
    let answered: Outgoing | undefined
    const pending = stack.send('GenerateRandom', { number_of_bytes: 8 }).then((outgoing) => {
      answered = outgoing
    })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(answered).toBeUndefined()
    confirm()
    await pending
    expect(answered?.ok).toBe(true)
  })

  test('every request of a known caller has exactly one record, and its receipt says where', async () => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    for (const name of OPERATION_NAMES) {
      const from = stack.ports.events.length
      const reply = await stack.succeed(name, requests[name]())
      const recorded = stack.ports.events.slice(from)
      const own = recorded.filter(({ action }) => action === `kms:${name}`)
      expect([name, own.length]).toEqual([name, IN_TWO_COMMITS.includes(name) ? 2 : 1])
      expect(recorded.length - own.length).toBe(name === 'Batch' ? 2 : 0)
      expect(reply.receipt.seq).toBe(stack.ledger.status().seq)
    }
  })
})

describe('invariant 3: fail closed without a verdict', () => {
  test.each(['throw', 'hang', 'garbage'] as const)('nothing is permitted while the PDP answers: %s', async (answer) => {
    await using stack = await createPipelineStack({ pdpTimeoutMs: 10 })
    const requests = await createRequests(stack)
    for (const name of OPERATION_NAMES) {
      stack.pdp.script(answer)
      const { code, calls } = await stack.trace(name, requests[name]())
      expect([name, code]).toEqual([name, 'PDP_UNAVAILABLE'])
      expect(calls.at(-1)).toBe('ledger AccessDenied denied PDP_UNAVAILABLE')
      expect(calls.some((call) => call.startsWith('hsm'))).toBe(false)
    }
    stack.pdp.script('permit')
    await stack.succeed('Encrypt', requests.Encrypt())
  })
})

describe('invariant 4: fail closed without the HSM', () => {
  test('everything that needs the HSM is HSM_UNAVAILABLE while it is away, is recorded, and works when it is back', async () => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    for (const name of [...COMPUTING, 'CreateKey', 'Verify', 'VerifyMac'] as const) {
      stack.hsm.setAway(true)
      const { code, calls } = await stack.trace(name, requests[name]())
      expect([name, code]).toEqual([name, 'HSM_UNAVAILABLE'])
      expect(calls.filter((call) => call.startsWith('hsm')).length).toBe(1)
      expect(calls.at(-1)).toBe('ledger OperationFailed failed HSM_UNAVAILABLE')
      stack.hsm.setAway(false)
      await stack.succeed(name, requests[name]())
    }
  })
})

describe('invariant 8: cascade disable', () => {
  test('a disabled root locks its grandchild for every use at once, and enabling it restores exactly that', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const middle = await stack.createKey({ parent_key_id: root })
    const leaf = await stack.createKey({ parent_key_id: middle })
    const use = async () => toCode(await stack.send('Encrypt', { key_id: leaf, plaintext: Buffer.from('x') }))
    expect(await use()).toBe('OK')
    expect((await stack.succeed('DisableKey', { key_id: root })).affected_descendants).toBe(2)
    expect(await use()).toBe('KEY_NOT_USABLE')
    const { key } = await stack.succeed('DescribeKey', { key_id: leaf })
    expect([key.state, key.effective_state, key.locked_by]).toEqual(['enabled', 'disabled', root])
    expect((await stack.succeed('EnableKey', { key_id: root })).affected_descendants).toBe(2)
    expect(await use()).toBe('OK')
  })
})

describe('invariant 13: the nonce budget', () => {
  const producing = ['Encrypt', 'GenerateDataKey', 'GenerateDataKeyWithoutPlaintext', 'ReEncrypt'] as const

  test.each(producing)('%s is refused before the HSM once a version has used up its messages', async (name) => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    const spend = (count: number) => {
      stack.ports.faults.view = (view) => ({
        ...view,
        usage: { ...view.usage, encrypted: view.keys.byLid.mapEntries(([lid]) => [`${lid}/1`, count]) },
      })
    }
    spend(LIMITS.gcmMessagesPerVersionMax - 1)
    await stack.succeed(name, requests[name]())
    spend(LIMITS.gcmMessagesPerVersionMax)
    const { code, calls } = await stack.trace(name, requests[name]())
    expect(code).toBe('KEY_EXHAUSTED')
    expect(calls.some((call) => call.startsWith('hsm'))).toBe(false)
    expect(toCode(await stack.send('Decrypt', requests.Decrypt()))).toBe('OK')
  })

  test('the limit is below 2^32 messages', () => {
    expect(LIMITS.gcmMessagesPerVersionMax).toBeLessThan(2 ** 32)
  })
})
