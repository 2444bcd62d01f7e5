import Type from 'typebox'
import { describe, expect, it } from 'vitest'
import { state, type Upcaster, usage } from '../../../schemas/events/eventType.ts'
import { EVENTS } from '../../../schemas/events.ts'
import { Fields } from '../../../schemas/primitives.ts'
import { createEventCheck } from '../../../src/core/eventCheck.ts'
import { packEvent } from '../../../src/core/packEvent.ts'
import { parseEvent } from '../../../src/core/recordedEvent.ts'
import { eventOf } from '../../fixtures/history.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'

/** Version 1 had a size in KiB, version 2 one in bytes, version 3 one in a record. */
const toBytes: Upcaster = ({ kib, ...rest }) => ({ ...rest, bytes: Number(kib) * 1024 })
const toRecord: Upcaster = ({ bytes }) => ({ size: { bytes } })
const TYPES = { Grown: state(Fields({ size: Fields({ bytes: Type.Integer() }) }), toBytes, toRecord) }

const recorded = (v: number, data: object) =>
  unwrap(parseEvent(packEvent({ ...eventOf('RandomGenerated', { bytes: 1 }), type: 'Grown', v, data } as never)))

describe('events of older versions', () => {
  it('have the number of their upcasters as version', () => {
    expect([usage(Fields({})).version, TYPES.Grown.version]).toEqual([1, 3])
  })

  it.each([
    [1, { kib: 2 }],
    [2, { bytes: 2048 }],
    [3, { size: { bytes: 2048 } }],
  ])('of version %i are read as of today', (v, data) => {
    expect(createEventCheck(TYPES).read(recorded(v, data))).toMatchObject({ v: 3, data: { size: { bytes: 2048 } } })
  })

  it.each([
    [4, { size: { bytes: 1 } }],
    [0, { kib: 1 }],
    [1, { size: { bytes: 1 } }],
  ])('of version %i that do not fit are refused', (v, data) => {
    expect(() => createEventCheck(TYPES).read(recorded(v, data))).toThrow(/Grown/)
  })

  it('are counted and not refused where the type is unknown', () => {
    expect(createEventCheck().read(recorded(1, {}))).toBeUndefined()
    expect(Object.keys(EVENTS)).not.toContain('Grown')
  })
})
