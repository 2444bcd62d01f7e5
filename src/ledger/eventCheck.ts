import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { EVENTS, type Event, type EventName, isStateEvent } from '../../schemas/events.ts'
import { type RecordedEvent, readFields } from '../core/recordedEvent.ts'
import { must } from '../core/result.ts'

/** Checks events against their schemas, before they are appended and after they are read: what is in fits what is out. */
export interface EventCheck {
  /** Throws an InvariantError that names the type and what is wrong. */
  mustFit(event: { readonly type: string; readonly v: unknown; readonly data: unknown }): void
  /** A recorded event as the fold reads it; nothing if its type is unknown to this version (it is counted, not refused). */
  read(recorded: RecordedEvent): Event | undefined
}

/** Schemas are compiled at first use; a check takes about a microsecond afterwards. */
export const createEventCheck = (): EventCheck => {
  const compiled = new Map<EventName, { Check(value: unknown): boolean }>()
  const checkerOf = (type: EventName) => {
    const known = compiled.get(type)
    if (known !== undefined) return known
    const schema: TSchema = EVENTS[type].data
    const made = Compile(schema)
    compiled.set(type, made)
    return made
  }
  const mustFit: EventCheck['mustFit'] = ({ type, v, data }) => {
    must(isKnown(type), `there is no event type ${type}`)
    must(v === EVENTS[type].version, `an event of type ${type} has version ${v}, which this program does not know`)
    must(checkerOf(type).Check(data), `the data of an event of type ${type} does not fit its schema`)
  }
  return {
    mustFit,
    read(recorded) {
      const { type } = recorded
      if (!isKnown(type)) return undefined
      const fields = readFields(recorded)
      mustFit({ type, v: fields['v'], data: fields.data })
      // A state event stays in the view for good; its bytes must not keep the whole message in memory.
      const own: unknown = isStateEvent(type) ? copyBytes(fields) : fields
      return isEvent(own) ? own : undefined
    },
  }
}

/** Says what `mustFit` has just checked; envelope members other than `type` and `data` are for people, not for folds. */
const isEvent = (fields: unknown): fields is Event => typeof fields === 'object' && fields !== null

const isKnown = (type: string): type is EventName => Object.hasOwn(EVENTS, type)

const copyBytes = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return new Uint8Array(value)
  if (Array.isArray(value)) return value.map(copyBytes)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, copyBytes(member)]))
}

const OWN_KINDS: ReadonlySet<string> = new Set([
  'LedgerCreated',
  'EpochOpened',
  'RootRotated',
  'LedgerRecovered',
  'LedgerRolled',
])

/** Whether only the ledger itself may write events of this type: they stand alone in their commit. */
export const isOwnKind = (type: string): boolean => OWN_KINDS.has(type)
