import type { NamespaceDefinition, SchemaJson } from '@cedar-policy/cedar-wasm/nodejs'

/** What the Cedar schema says of a value, as far as a question must be cut to it. */
export type Shape =
  | { readonly kind: 'plain' }
  | { readonly kind: 'record'; readonly members: ReadonlyMap<string, Shape> }
  /** `tagged`: the type has string tags, so a record of any names becomes an entity of it. */
  | { readonly kind: 'entity'; readonly type: string; readonly tagged: boolean }

/** The declared attributes of each entity type and the context of each action. */
export interface CedarShapes {
  readonly entities: ReadonlyMap<string, ReadonlyMap<string, Shape>>
  readonly contexts: ReadonlyMap<string, ReadonlyMap<string, Shape>>
}

type Node = { readonly type: string }
type Namespace = NamespaceDefinition<string>

const NONE: ReadonlyMap<string, Shape> = new Map()

const qualify = (namespace: string, name: string): string => (namespace === '' ? name : `${namespace}::${name}`)

/** Collects the shapes of a schema whose types are resolved. Common types are replaced by what they stand for. */
export const toShapes = (schema: SchemaJson<string>): CedarShapes => {
  const commons = new Map<string, Node>()
  const tagged = new Set<string>()
  const each = <T>(pick: (namespace: Namespace) => Readonly<Record<string, T>> | undefined): [string, T][] =>
    Object.entries(schema).flatMap(([name, body]) =>
      Object.entries(pick(body) ?? {}).map(([id, value]): [string, T] => [qualify(name, id), value]),
    )
  for (const [name, node] of each((namespace) => namespace.commonTypes)) commons.set(name, node)
  const entityTypes = each((namespace) => namespace.entityTypes)
  for (const [name, type] of entityTypes) if ('tags' in type && type.tags?.type === 'String') tagged.add(name)

  const toShape = (node: Node): Shape => {
    const common = commons.get(node.type)
    if (common !== undefined) return toShape(common)
    if (node.type === 'Record') return { kind: 'record', members: toMembers(node) }
    if (node.type === 'Entity' && 'name' in node && typeof node.name === 'string') {
      return { kind: 'entity', type: node.name, tagged: tagged.has(node.name) }
    }
    return { kind: 'plain' }
  }
  const toMembers = (node: Node | undefined): ReadonlyMap<string, Shape> => {
    if (node === undefined) return NONE
    const common = commons.get(node.type)
    if (common !== undefined) return toMembers(common)
    const attributes: unknown = 'attributes' in node ? node.attributes : undefined
    if (typeof attributes !== 'object' || attributes === null) return NONE
    return new Map(Object.entries(attributes).map(([name, member]: [string, Node]) => [name, toShape(member)]))
  }
  return {
    entities: new Map(entityTypes.map(([name, type]) => [name, toMembers('shape' in type ? type.shape : undefined)])),
    contexts: new Map(
      each((namespace) => namespace.actions).map(([name, action]) => [name, toMembers(action.appliesTo?.context)]),
    ),
  }
}
