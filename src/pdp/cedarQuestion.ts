import type { CedarValueJson, EntityJson, TypeAndId } from '@cedar-policy/cedar-wasm/nodejs'
import type { Question } from '../core/ports.ts'
import { toCanonicalJson } from './canonicalJson.ts'
import type { CedarShapes, Shape } from './cedarShape.ts'

/** A question in Cedar's words. */
export interface CedarQuestion {
  readonly principal: TypeAndId
  readonly action: TypeAndId
  readonly resource: TypeAndId
  readonly context: Record<string, CedarValueJson>
  readonly entities: EntityJson[]
}

type Members = ReadonlyMap<string, Shape>
type Values = Readonly<Record<string, unknown>>

const isValues = (value: unknown): value is Values =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)

const isPlain = (value: unknown): value is string | number | boolean =>
  typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isSafeInteger(value))

const own = (values: Values, name: string): unknown => (Object.hasOwn(values, name) ? values[name] : undefined)

/** A record without a prototype, so that a tag named `__proto__` is an ordinary member. */
const emptyRecord = (): Record<string, CedarValueJson> => Object.create(null)

/** Tags are strings in Cedar; any other identity tag is its canonical JSON text. */
const toTags = (values: Values): Record<string, CedarValueJson> => {
  const tags = emptyRecord()
  for (const [name, value] of Object.entries(values)) {
    tags[name] = typeof value === 'string' ? value : toCanonicalJson(value)
  }
  return tags
}

/**
 * Puts a question into Cedar's words, cut to what the schema declares: a validated policy cannot mention anything
 * else, so nothing that could decide is lost. Records of open names (tags) become entities with string tags, which also
 * keeps Cedar's JSON escapes (`__entity`, `__extn`) in a caller's tag names from meaning anything.
 * Throws for what the schema does not know or what has another type than declared: no verdict, hence a denial.
 */
export const toCedarQuestion = (question: Question, shapes: CedarShapes): CedarQuestion => {
  const entities: EntityJson[] = []
  const { principal, resource } = question
  const of = (type: string): Members => {
    const members = shapes.entities.get(type)
    if (members === undefined) throw new Error(`the Cedar schema has no entity type ${type}`)
    return members
  }
  const contextMembers = shapes.contexts.get(question.action)
  if (contextMembers === undefined) throw new Error(`the Cedar schema has no action ${question.action}`)

  const toValue = (value: unknown, shape: Shape, path: string): CedarValueJson => {
    if (shape.kind === 'entity' && shape.tagged && isValues(value)) {
      const uid = { type: shape.type, id: path }
      entities.push({ uid, attrs: {}, parents: [], tags: toTags(value) })
      return { __entity: uid }
    }
    if (shape.kind === 'entity' && typeof value === 'string') return { __entity: { type: shape.type, id: value } }
    if (shape.kind === 'record' && isValues(value)) return toRecord(value, shape.members, path)
    if (shape.kind === 'plain' && isPlain(value)) return value
    if (shape.kind === 'plain' && Array.isArray(value) && value.every(isPlain)) return [...value]
    throw new Error(`${path} does not have the type that the Cedar schema declares`)
  }
  const toRecord = (values: Values, members: Members, path: string): Record<string, CedarValueJson> => {
    const record = emptyRecord()
    for (const [name, shape] of members) {
      // A key that does not exist has no tags; policies need not ask whether it has a tag set.
      const value = own(values, name) ?? (shape.kind === 'entity' && shape.tagged ? {} : undefined)
      if (value !== undefined) record[name] = toValue(value, shape, `${path}.${name}`)
    }
    return record
  }
  const add = (type: string, id: string, attrs: Record<string, CedarValueJson>, parents: TypeAndId[]): TypeAndId => {
    entities.push({ uid: { type, id }, attrs, parents })
    return { type, id }
  }
  return {
    principal: add(principal.type, principal.id, toRecord(principal.attributes, of(principal.type), 'principal'), []),
    action: { type: 'Action', id: question.action },
    resource: add(
      resource.type,
      resource.id,
      toRecord(resource.attributes, of(resource.type), 'resource'),
      toParents(question),
    ),
    context: toRecord(question.context, contextMembers, 'context'),
    entities,
  }
}

/** The entities a resource is `in`: its parent, and its further ancestors where the question names them. */
const toParents = ({ resource }: Question): TypeAndId[] => {
  const ancestors = own(resource.attributes, 'ancestors') ?? []
  const named = [own(resource.attributes, 'parent'), ...(Array.isArray(ancestors) ? ancestors : [ancestors])]
  const ids = named.filter((id) => id !== undefined)
  if (!ids.every((id) => typeof id === 'string')) throw new Error('resource.parent and resource.ancestors must be ids')
  return [...new Set(ids)].map((id) => ({ type: resource.type, id }))
}
