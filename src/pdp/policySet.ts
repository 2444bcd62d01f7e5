import {
  type DetailedError,
  policySetTextToParts,
  policyToJson,
  schemaToJsonWithResolvedTypes,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs'
import { LIMITS } from '../../schemas/limits.ts'
import { type CedarShapes, toShapes } from './cedarShape.ts'
import type { PolicyFile, PolicyFolder } from './policyFolder.ts'

/** A policy folder that parsed and holds against its schema. */
export interface PolicySet {
  readonly sha256: Uint8Array
  readonly schema: string
  readonly shapes: CedarShapes
  /** Policy texts by id: the `@id` annotation, else `<file>#<n>` counted from 0. */
  readonly policies: Readonly<Record<string, string>>
  readonly policiesCount: number
  /** What the validator finds odd but not wrong, as `<file>: <policy>: <text>`. */
  readonly warnings: readonly string[]
}

interface Policy {
  readonly id: string
  readonly file: string
  readonly text: string
}

/**
 * Parses every file, gives each policy its id and validates all of them against the one schema, strictly.
 * Throws an Error whose message names the file and, where Cedar says it, the line.
 */
export const compilePolicySet = (folder: PolicyFolder): PolicySet => {
  const schemaFile = findSchema(folder.files)
  const schema = toText(schemaFile)
  const resolved = schemaToJsonWithResolvedTypes(schema)
  if (resolved.type === 'failure') throw new Error(describe(schemaFile, resolved.errors))
  const policies = folder.files.filter((file) => file.name.endsWith('.cedar')).flatMap(splitPolicies)
  const byId = new Map<string, Policy>()
  for (const policy of policies) {
    const other = byId.get(policy.id)
    if (other !== undefined) throw new Error(`${policy.file}: the policy id ${policy.id} is also in ${other.file}`)
    byId.set(policy.id, policy)
  }
  const texts: Record<string, string> = Object.fromEntries(policies.map(({ id, text }) => [id, text]))
  const answer = validate({ schema, policies: { staticPolicies: texts }, validationSettings: { mode: 'strict' } })
  if (answer.type === 'failure') throw new Error(describe(schemaFile, answer.errors))
  const where = (id: string): string => byId.get(id)?.file ?? schemaFile.name
  const errors = answer.validationErrors.map(({ policyId, error }) => `${where(policyId)}: ${error.message}`)
  if (errors.length > 0) throw new Error(errors.slice(0, 4).join('; '))
  return {
    sha256: folder.sha256,
    schema,
    shapes: toShapes(resolved.json),
    policies: texts,
    policiesCount: policies.length,
    warnings: [
      ...answer.validationWarnings.map(({ policyId, error }) => `${where(policyId)}: ${policyId}: ${error.message}`),
      ...answer.otherWarnings.map((error) => `${schemaFile.name}: ${error.message}`),
    ],
  }
}

const findSchema = (files: readonly PolicyFile[]): PolicyFile => {
  const [schema, another] = files.filter((file) => file.name.endsWith('.cedarschema'))
  if (schema === undefined) throw new Error('the policy folder has no .cedarschema file')
  if (another !== undefined) throw new Error(`${another.name}: a second schema beside ${schema.name}`)
  return schema
}

const toText = (file: PolicyFile): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(file.bytes)
  } catch (cause) {
    throw new Error(`${file.name}: not UTF-8`, { cause })
  }
}

const splitPolicies = (file: PolicyFile): Policy[] => {
  const parts = policySetTextToParts(toText(file))
  if (parts.type === 'failure') throw new Error(describe(file, parts.errors))
  // A template without a link does nothing, and nothing here links one: whoever wrote it expects otherwise.
  if (parts.policy_templates.length > 0) throw new Error(`${file.name}: policy templates are not supported`)
  const order = parts.policies.map((_, n) => n).sort(byCedarId)
  return parts.policies.map((text, at) => ({ id: toId(file, text, order[at] ?? at), file: file.name, text }))
}

/** Cedar gives the policies sorted by the text of their ids: `policy10` comes before `policy2`. */
const byCedarId = (a: number, b: number): number => (`policy${a}` < `policy${b}` ? -1 : 1)

const toId = (file: PolicyFile, text: string, n: number): string => {
  const parsed = policyToJson(text)
  if (parsed.type === 'failure') throw new Error(describe(file, parsed.errors))
  const annotations = parsed.json.annotations ?? {}
  const id = Object.hasOwn(annotations, 'id') ? annotations['id'] : undefined
  const chosen = id === undefined || id === '' ? `${file.name}#${n}` : id
  if (chosen.length > LIMITS.policyIdCharsMax || chosen === '__proto__') {
    throw new Error(`${file.name}: the policy id must be at most ${LIMITS.policyIdCharsMax} characters`)
  }
  return chosen
}

/** Cedar's first complaint with the place it names; its offsets count bytes. */
const describe = (file: PolicyFile, errors: readonly DetailedError[]): string => {
  const [first] = errors
  const place = first?.sourceLocations?.[0]
  const line =
    place === undefined ? '' : `:${Buffer.from(file.bytes.subarray(0, place.start)).toString().split('\n').length}`
  const expected = place?.label ? `, ${place.label}` : ''
  return `${file.name}${line}: ${first?.message ?? 'not valid'}${expected}`
}
