import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { createKeyLock, type KeyLock } from '../../../src/pipeline/keyLock.ts'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

const take = async (lock: KeyLock, name = 'key') => {
  const leased = await lock.lease(name)
  if (!leased.ok) throw new Error(leased.error.code)
  return leased.value
}

describe('the key lock', () => {
  test('gives turns in order of arrival, one at a time', async () => {
    const lock = createKeyLock()
    const order: string[] = []
    const turns = [1, 2, 3].map(async (n) => {
      using _turn = await take(lock)
      order.push(`in ${n}`)
      await settle()
      order.push(`out ${n}`)
    })
    await Promise.all(turns)
    expect(order).toEqual(['in 1', 'out 1', 'in 2', 'out 2', 'in 3', 'out 3'])
  })

  test('lets unrelated keys go ahead', async () => {
    const lock = createKeyLock()
    using _held = await take(lock, 'a')
    using _other = await take(lock, 'b')
  })

  test('refuses the waiter beyond its bound, and takes one again when a turn ends', async () => {
    const lock = createKeyLock(1)
    const held = await take(lock)
    const waiting = take(lock)
    expect(await lock.lease('key')).toMatchObject({ ok: false, error: { code: 'OVERLOADED' } })
    held[Symbol.dispose]()
    const second = await waiting
    const third = take(lock)
    second[Symbol.dispose]()
    ;(await third)[Symbol.dispose]()
  })

  test('passes the turn on when the holder throws', async () => {
    const lock = createKeyLock()
    const failing = async () => {
      using _turn = await take(lock)
      throw new Error('a bug')
    }
    await expect(failing()).rejects.toThrow('a bug')
    using _turn = await take(lock)
  })

  test('a lease disposed twice does not end the turn of the next', async () => {
    const lock = createKeyLock()
    const first = await take(lock)
    const second = take(lock)
    first[Symbol.dispose]()
    first[Symbol.dispose]()
    await second
    let isIn = false
    const third = take(lock).then(() => {
      isIn = true
    })
    await settle()
    expect(isIn).toBe(false)
    ;(await second)[Symbol.dispose]()
    await third
  })
})

describe('changes of one key', () => {
  test('take turns: of two disables at once the second meets a disabled key', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const both = await Promise.all([stack.send('DisableKey', { key_id }), stack.send('DisableKey', { key_id })])
    expect(both.map(toCode)).toEqual(['OK', 'INVALID_STATE_TRANSITION'])
  })

  test('beyond the bound are OVERLOADED, recorded, and the rest is answered', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    let open = () => {}
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    stack.ports.faults.append = async ({ events: [event] }) => {
      if (event?.type === 'KeyDisabled') await opened
      return undefined
    }
    const sent = Array.from({ length: LIMITS.keyQueueWaitersMax + 1 }, () => stack.send('DisableKey', { key_id }))
    expect(toCode(await stack.send('DisableKey', { key_id }))).toBe('OVERLOADED')
    expect(stack.ports.calls).toContain('ledger RequestRefused failed OVERLOADED')
    open()
    const codes = (await Promise.all(sent)).map(toCode)
    expect(codes.filter((code) => code === 'OK').length).toBe(1)
    expect(codes.filter((code) => code === 'INVALID_STATE_TRANSITION').length).toBe(LIMITS.keyQueueWaitersMax)
  })
})
