import { describe, expect, test } from 'vitest'
import { EVENTS, type Event, type EventName } from '../../../schemas/events.ts'
import { FEED, isFeedName, NEVER_IN_FEED } from '../../../schemas/feed.ts'
import { isRecord } from '../../../src/core/byteFields.ts'
import { parseFeedPayload, toFeedPublication } from '../../../src/core/feed.ts'
import { eventOf } from '../../fixtures/history.ts'
import { LID } from '../../fixtures/scriptedDispatch.ts'

const RECEIPT = { seq: 7, index: 1, hash: 'a'.repeat(64) }
const TIME_MS = Date.UTC(2026, 0, 2)

const announce = (event: Event) => {
  const publication = toFeedPublication(event, RECEIPT, TIME_MS)
  if (publication === undefined) throw new Error('not announced')
  return { subject: publication.subject, message: JSON.parse(publication.payload.toString()) }
}

const membersOf = (name: EventName): readonly string[] => {
  const schema: unknown = EVENTS[name].data
  return isRecord(schema) && isRecord(schema['properties']) ? Object.keys(schema['properties']) : []
}

const NAMES = Object.keys(FEED) as (keyof typeof FEED)[]

describe('what the feed may show', () => {
  test('is decided for every type of state event, and for no other', () => {
    const state = Object.entries(EVENTS).flatMap(([name, event]) => (event.state ? [name] : []))
    expect([...NAMES].sort()).toEqual(state.sort())
  })

  test.each(NAMES.filter(isFeedName))('is decided for every member of %s', (name) => {
    const shown: readonly string[] = FEED[name]
    const never: readonly string[] = NEVER_IN_FEED
    const members = membersOf(name)
    expect(members.filter((member) => member !== 'lid' && !never.includes(member)).sort()).toEqual([...shown].sort())
    expect(shown.filter((member) => never.includes(member) || member === 'lid')).toEqual([])
  })
})

describe('an announcement', () => {
  test('of a new key has what its metadata shows, and neither identity tags, handles nor idempotency hashes', () => {
    const planted = Buffer.from('planted'.padEnd(32, '-'))
    const created = eventOf('KeyCreated', {
      lid: LID,
      version: 1,
      spec: 'AES_256',
      usage: 'ENCRYPT_DECRYPT',
      description: 'for orders',
      user_tags: [{ key: 'team', value: 'blue' }],
      identity_tags: { planted: 'planted' },
      canonicalization_version: 1,
      exportable: false,
      material: { backend: 'main', sealed_handle: planted },
      idempotency: { slot: planted, body: planted },
    })
    const { subject, message } = announce(created)
    expect(subject).toBe(`kms.feed.KeyCreated.${LID}`)
    expect(message).toEqual({
      id: created.id,
      type: 'KeyCreated',
      v: 1,
      time: '2026-01-02T00:00:00.000Z',
      key_id: LID,
      data: {
        version: 1,
        spec: 'AES_256',
        usage: 'ENCRYPT_DECRYPT',
        description: 'for orders',
        user_tags: [{ key: 'team', value: 'blue' }],
        canonicalization_version: 1,
        exportable: false,
      },
      receipt: RECEIPT,
    })
    expect(JSON.stringify(message)).not.toContain('planted')
    expect(JSON.stringify(message)).not.toContain(planted.toString('base64'))
  })

  test('says nothing of who did it', () => {
    const { message } = announce(eventOf('KeyDisabled', { lid: LID, affected: 3 }))
    expect(Object.keys(message)).toEqual(['id', 'type', 'v', 'time', 'key_id', 'data', 'receipt'])
    expect(message.data).toEqual({ affected: 3 })
  })

  test('of what is about no key goes to the service; its bytes are base64 and come back', () => {
    const sha256 = Buffer.alloc(32, 7)
    const event = eventOf('PolicySetLoaded', { sha256, policies: 2 })
    const { subject, message } = announce(event)
    expect([subject, message.key_id]).toEqual(['kms.feed.PolicySetLoaded.service', undefined])
    expect(message.data).toEqual({ sha256: sha256.toString('base64'), policies: 2 })
    expect(parseFeedPayload(Buffer.from(JSON.stringify(message)))?.data).toEqual({ sha256, policies: 2 })
  })

  test.each([
    eventOf('DataEncrypted', { lid: LID, version: 1 }),
    eventOf('AccessDenied', {}),
    eventOf('OperationFailed', {}),
    eventOf('BatchExecuted', { items: 2, failed: 0 }),
    eventOf('EpochOpened', {
      writer: 'host/1',
      kid: '0'.repeat(32),
      public_key: Buffer.alloc(32),
      attestation: Buffer.alloc(64),
    }),
  ])('is not made of $type', (event) => {
    expect(toFeedPublication(event, RECEIPT, TIME_MS)).toBeUndefined()
  })
})

describe('a payload from the feed', () => {
  const good = { id: 'i', type: 'KeyDisabled', v: 1, time: 't', key_id: LID, data: { affected: 0 }, receipt: RECEIPT }
  test('is a message', () => {
    expect(parseFeedPayload(Buffer.from(JSON.stringify(good)))).toEqual(good)
  })
  test.each([
    ['no JSON', 'KeyDisabled'],
    ['a list', '[]'],
    ['a type that this version does not know', JSON.stringify({ ...good, type: 'KeyPolished' })],
    ['a type that is not announced', JSON.stringify({ ...good, type: 'EpochOpened' })],
    ['no data', JSON.stringify({ ...good, data: null })],
    ['no receipt', JSON.stringify({ ...good, receipt: {} })],
    ['bytes that are not base64', JSON.stringify({ ...good, type: 'PolicySetLoaded', data: { sha256: '*' } })],
  ])('that is %s is none', (_what, text) => {
    expect(parseFeedPayload(Buffer.from(text))).toBeUndefined()
  })
})
