/** Which events are wanted: all that is given must fit. */
export interface EventFilter {
  readonly types?: readonly string[]
  /** A LID: events with that key among their resources, or about it. */
  readonly keyId?: string
  /** The id of the principal that asked. */
  readonly principal?: string
  readonly action?: string
  readonly outcome?: string
  readonly requestId?: string
}

/** Whether an event with these members, as it was recorded, is wanted. */
export const isWanted = (fields: Readonly<Record<string, unknown>>, filter: EventFilter): boolean => {
  const { types, keyId, principal, action, outcome, requestId } = filter
  const asked = isRecord(fields['principal']) ? fields['principal']['id'] : undefined
  return (
    (types === undefined || types.some((one) => one === fields['type'])) &&
    fits(principal, asked) &&
    fits(action, fields['action']) &&
    fits(outcome, fields['outcome']) &&
    fits(requestId, fields['request_id']) &&
    (keyId === undefined || isAboutKey(fields, keyId))
  )
}

const fits = (wanted: string | undefined, value: unknown): boolean => wanted === undefined || value === wanted

const isAboutKey = ({ resources, data }: Readonly<Record<string, unknown>>, keyId: string): boolean => {
  const isNamed = Array.isArray(resources) && resources.some((one) => isRecord(one) && one['id'] === keyId)
  return isNamed || (isRecord(data) && data['lid'] === keyId)
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null
