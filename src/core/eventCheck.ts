import { Compile } from 'typebox/compile'
import type { EventType } from '../../schemas/events/eventType.ts'
import { EVENTS, type Event } from '../../schemas/events.ts'
import { type EventFields, type RecordedEvent, readFields } from './recordedEvent.ts'
import { must } from './result.ts'

/** Checks events against their schemas, before they are appended and after they are read: what is in fits what is out. */
export interface EventCheck {
  /** Throws an InvariantError that names the type and what is wrong. */
  mustFit(event: { readonly type: string; readonly v: unknown; readonly data: unknown }): void
  /** A recorded event as the fold reads it; nothing if its type is unknown to this version (it is counted, not refused). */
  read(recorded: RecordedEvent): Event | undefined
}

type Types = Readonly<Record<string, EventType>>

/** Schemas are compiled at first use; a check takes about a microsecond afterwards. `types` are another set in tests only. */
export const createEventCheck = (types: Types = EVENTS): EventCheck => {
  const compiled = new Map<string, { Check(value: unknown): boolean }>()
  const find = (type: string): EventType | undefined => (Object.hasOwn(types, type) ? types[type] : undefined)
  const checkerOf = (type: string, { data }: EventType) => {
    const checker = compiled.get(type) ?? Compile(data)
    compiled.set(type, checker)
    return checker
  }
  const mustFit: EventCheck['mustFit'] = ({ type, v, data }) => {
    const known = find(type)
    must(known !== undefined, `there is no event type ${type}`)
    must(v === known.version, `an event of type ${type} has version ${v}, which this program does not know`)
    must(checkerOf(type, known).Check(data), `the data of an event of type ${type} does not fit its schema`)
  }
  return {
    mustFit,
    read(recorded) {
      const known = find(recorded.type)
      if (known === undefined) return undefined
      const fields = upcast(known, readFields(recorded))
      mustFit({ type: fields.type, v: fields['v'], data: fields.data })
      // A state event stays in the view for good; its bytes must not keep the whole message in memory.
      const own: unknown = known.state ? copyBytes(fields) : fields
      return isEvent(own) ? own : undefined
    },
  }
}

/** Says what `mustFit` has just checked; envelope members other than `type` and `data` are for people, not for folds. */
const isEvent = (fields: unknown): fields is Event => typeof fields === 'object' && fields !== null

/** An event of an older version as one of today; any other as it is. */
const upcast = ({ version, upcasters }: EventType, fields: EventFields): EventFields => {
  const from = fields['v']
  if (!Number.isSafeInteger(from) || Number(from) < 1 || Number(from) >= version) return fields
  const data = upcasters.slice(Number(from) - 1).reduce((older, upcaster) => upcaster(older), fields.data)
  return { ...fields, v: version, data }
}

/** The same value with byte arrays of its own, and plain objects for those without prototype. */
export const copyBytes = (value: unknown): unknown => {
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
