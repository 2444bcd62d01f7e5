import { describe, expect, test } from 'vitest'
import type { View } from '../../../projections/view.ts'
import { KEY_STATES, type KeyStateName } from '../../../schemas/keys.ts'
import type { OperationName } from '../../../schemas/registry.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Body = () => Readonly<Record<string, unknown>>
type Case = readonly [what: string, operation: OperationName, body: Body]

/** What each state of a key answers to each kind of use. The one table behind all rows below. */
const ANSWERS: Readonly<Record<'produce' | 'consume' | 'parent' | 'read' | 'enable' | 'disable', readonly string[]>> = {
  //        enabled, compromised, disabled, pending_deletion, destroying, destroyed
  produce: ['OK', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE'],
  consume: ['OK', 'OK', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE'],
  parent: ['OK', ...Array.from({ length: 5 }, () => 'PARENT_NOT_USABLE')],
  read: Array.from({ length: 6 }, () => 'OK'),
  enable: [
    'INVALID_STATE_TRANSITION',
    'INVALID_STATE_TRANSITION',
    'OK',
    ...Array.from({ length: 3 }, () => 'INVALID_STATE_TRANSITION'),
  ],
  disable: ['OK', ...Array.from({ length: 5 }, () => 'INVALID_STATE_TRANSITION')],
}

type Kind = keyof typeof ANSWERS
const USES: readonly Kind[] = ['produce', 'consume', 'parent', 'read']
const CHANGES: readonly Kind[] = ['enable', 'disable']

/** One encryption key, one signing key with what they made, and every request about them, by kind of use. */
const setUp = async (stack: PipelineStack) => {
  const root = await stack.createKey()
  const key_id = await stack.createKey({ parent_key_id: root })
  const signing = await stack.createKey({ parent_key_id: root, key_spec: 'ED25519' })
  const other = await stack.createKey()
  const bytes = () => Buffer.from('message')
  const seal = async (id: string) =>
    Uint8Array.from((await stack.succeed('Encrypt', { key_id: id, plaintext: bytes() })).ciphertext_blob)
  const [own, others] = [await seal(key_id), await seal(other)]
  const signature = Uint8Array.from((await stack.succeed('Sign', { key_id: signing, message: bytes() })).signature)
  const cases: Readonly<Record<Kind, readonly Case[]>> = {
    produce: [
      ['Encrypt', 'Encrypt', () => ({ key_id, plaintext: bytes() })],
      ['GenerateDataKey', 'GenerateDataKey', () => ({ key_id })],
      ['GenerateDataKeyWithoutPlaintext', 'GenerateDataKeyWithoutPlaintext', () => ({ key_id })],
      [
        'ReEncrypt to it',
        'ReEncrypt',
        () => ({ ciphertext_blob: Uint8Array.from(others), destination_key_id: key_id }),
      ],
      ['Sign', 'Sign', () => ({ key_id: signing, message: bytes() })],
    ],
    consume: [
      ['Decrypt', 'Decrypt', () => ({ ciphertext_blob: Uint8Array.from(own) })],
      ['ReEncrypt from it', 'ReEncrypt', () => ({ ciphertext_blob: Uint8Array.from(own), destination_key_id: other })],
      ['Verify', 'Verify', () => ({ key_id: signing, message: bytes(), signature: Uint8Array.from(signature) })],
    ],
    parent: [['CreateKey below it', 'CreateKey', () => ({ key_spec: 'AES_256', parent_key_id: key_id })]],
    read: [
      ['DescribeKey', 'DescribeKey', () => ({ key_id })],
      ['GetPublicKey', 'GetPublicKey', () => ({ key_id: signing })],
      ['GetKeyDependents', 'GetKeyDependents', () => ({ key_id })],
      ['GetKeyAncestors', 'GetKeyAncestors', () => ({ key_id })],
      ['ListKeys', 'ListKeys', () => ({})],
    ],
    enable: [['EnableKey', 'EnableKey', () => ({ key_id })]],
    disable: [['DisableKey', 'DisableKey', () => ({ key_id })]],
  }
  return { root, keys: [key_id, signing], cases }
}

/** Puts keys into a state: by commands where there are some, in the view where those come in a later version. */
const putInto = async (stack: PipelineStack, ids: readonly string[], state: KeyStateName) => {
  if (state === 'enabled') return
  if (state === 'disabled') {
    for (const key_id of ids) await stack.succeed('DisableKey', { key_id })
    return
  }
  stack.ports.faults.view = (view: View) => ({
    ...view,
    keys: {
      ...view.keys,
      byLid: view.keys.byLid.map((record) => (ids.includes(record.lid) ? { ...record, state } : record)),
    },
  })
}

const answerAll = async (
  stack: PipelineStack,
  kinds: readonly Kind[],
  cases: Awaited<ReturnType<typeof setUp>>['cases'],
) => {
  const answers: Record<string, string> = {}
  for (const kind of kinds)
    for (const [what, operation, body] of cases[kind]) answers[what] = toCode(await stack.send(operation, body()))
  return answers
}

const expected = (kinds: readonly Kind[], cases: Awaited<ReturnType<typeof setUp>>['cases'], state: KeyStateName) =>
  Object.fromEntries(
    kinds.flatMap((kind) => cases[kind].map(([what]) => [what, ANSWERS[kind][KEY_STATES.indexOf(state)]])),
  )

describe('state by operation', () => {
  test.each(KEY_STATES)('of a key that is %s', async (state) => {
    await using stack = await createPipelineStack()
    const { keys, cases } = await setUp(stack)
    await putInto(stack, keys, state)
    expect(await answerAll(stack, USES, cases)).toEqual(expected(USES, cases, state))
  })

  test.each(KEY_STATES)('of a key below one that is %s', async (state) => {
    await using stack = await createPipelineStack()
    const { root, cases } = await setUp(stack)
    await putInto(stack, [root], state)
    expect(await answerAll(stack, USES, cases)).toEqual(expected(USES, cases, state))
  })

  test.each(KEY_STATES.flatMap((state) => CHANGES.map((kind) => [kind, state] as const)))(
    '%s a key that is %s',
    async (kind, state) => {
      await using stack = await createPipelineStack()
      const { keys, cases } = await setUp(stack)
      await putInto(stack, keys, state)
      expect(await answerAll(stack, [kind], cases)).toEqual(expected([kind], cases, state))
    },
  )

  test('no use that is refused for a state reaches the HSM', async () => {
    await using stack = await createPipelineStack()
    const { keys, cases } = await setUp(stack)
    await putInto(stack, keys, 'disabled')
    const before = stack.hsm.calls.length
    await answerAll(stack, ['produce', 'consume', 'parent'], cases)
    expect(stack.hsm.calls.length).toBe(before)
  })
})
