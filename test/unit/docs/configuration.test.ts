import { describe, expect, test } from 'vitest'
import { ConfigSchema } from '../../../schemas/config.ts'
import { toConfigurationPage } from '../../../src/docs/configuration.ts'

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/** Every described node of the schema. */
const descriptionsIn = (node: unknown): readonly string[] => {
  if (!isMap(node)) return []
  const own = typeof node['description'] === 'string' ? [node['description']] : []
  return [...own, ...Object.values(node).flatMap(descriptionsIn)]
}

/** Paths of the leaves that have no description; `kind` explains itself. */
const undescribedIn = (node: unknown, path: string): readonly string[] => {
  if (!isMap(node) || !isMap(node['properties'])) return []
  return Object.entries(node['properties']).flatMap(([name, member]) => {
    const at = `${path}${name}`
    const bare = isMap(member) && !('description' in member) && name !== 'kind' && !isMap(member['properties'])
    return [...(bare ? [at] : []), ...undescribedIn(member, `${at}.`)]
  })
}

describe('the configuration page', () => {
  const page = toConfigurationPage({ KMS_CONFIG: 'The file.' })

  test('holds what the schema says of each field', () => {
    const descriptions = descriptionsIn(ConfigSchema)
    expect(descriptions.length).toBeGreaterThan(40)
    expect(descriptions.filter((text) => !page.includes(text))).toEqual([])
  })

  test('has no field without a description', () => {
    expect(undescribedIn(ConfigSchema, '')).toEqual([])
  })

  test('names the environment variables', () => {
    expect(page).toContain('| `KMS_CONFIG` | The file. |')
  })
})
