import { readFile } from 'node:fs/promises'
import { schemaToJsonWithResolvedTypes } from '@cedar-policy/cedar-wasm/nodejs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OPERATION_NAMES, toContract } from '../../../schemas/registry.ts'
import type { Question } from '../../../src/core/ports.ts'
import { type CedarPdp, createCedar } from '../../../src/pdp/cedar.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const POLICY_DIR = new URL('../../../policies/', import.meta.url)

/** Actions on the second resource of an operation, with the effect of that operation. */
const SECOND_ACTIONS = {
  ReEncryptFrom: 'use',
  ReEncryptTo: 'use',
  CreateChildKey: 'change',
  AttachAlias: 'change',
  AttachNamespace: 'change',
  DetachAlias: 'change',
} as const
/** Operations that name no key in their request. */
const ABOUT_THE_SERVICE = [
  'Batch',
  'CreateKey',
  'ExplainRouting',
  'GenerateRandom',
  'GetLedgerHead',
  'GetLedgerProof',
  'GetParametersForImport',
  'ImportKey',
  'ListAliases',
  'ListHsmConnections',
  'ListKeys',
  'ListLedgerEvents',
  'ListNamespaces',
  'ListRotationJobs',
]
/** About the key of the job, or about the service if there is no such job. */
const ABOUT_A_JOB = ['AcknowledgeRotationJob', 'CompleteRotationJob', 'FailRotationJob']
const ABOUT_A_CONNECTION = ['CreateHsmConnection', 'DeleteHsmConnection', 'GetHsmConnection', 'GetHsmConnectionStatus']
const OF_A_NEW_KEY = ['kms:CreateKey', 'kms:ExplainRouting', 'kms:ImportKey']
const ABOUT_AN_ALIAS = ['CreateAlias', 'DeleteAlias', 'UpdateAlias']

const ABOUT_A_NAMESPACE = ['AttachNamespace', 'DescribeNamespace', 'RegisterNamespace']

const EXPECTED = new Map<string, string>([
  ...OPERATION_NAMES.map((name): [string, string] => [`kms:${name}`, `kms:${toContract(name).effect}`]),
  ...Object.entries(SECOND_ACTIONS).map(([name, effect]): [string, string] => [`kms:${name}`, `kms:${effect}`]),
])
const READS = [...EXPECTED].filter(([, group]) => group === 'kms:read').map(([action]) => action)
const NAMED = new Map<string, 'Alias' | 'Namespace' | 'HsmConnection'>([
  ...ABOUT_A_CONNECTION.map((name) => [name, 'HsmConnection'] as const),
  ...ABOUT_AN_ALIAS.map((name) => [name, 'Alias'] as const),
  ...ABOUT_A_NAMESPACE.map((name) => [name, 'Namespace'] as const),
])
const isAboutService = (action: string) => ABOUT_THE_SERVICE.includes(action.slice('kms:'.length))
const toResourceType = (action: string) =>
  isAboutService(action) ? 'Service' : (NAMED.get(action.slice('kms:'.length)) ?? 'Key')
const toResourceTypes = (action: string) =>
  ABOUT_A_JOB.includes(action.slice('kms:'.length)) ? ['Key', 'Service'] : [toResourceType(action)]

let pdp: CedarPdp
const telemetry = createTelemetryLog()
beforeAll(async () => {
  pdp = await createCedar({ policyDir: POLICY_DIR.pathname, telemetry, scheduler: { after: () => () => undefined } })
})
afterAll(() => pdp.close())

const ask = (
  action: string,
  attributes: Question['principal']['attributes'],
  tags: Readonly<Record<string, string>> = {},
): Question => {
  const Service = { type: 'Service', id: 'origin', attributes: { exists: true } } as const
  const Alias = { type: 'Alias', id: 'alias/a', attributes: { exists: true, name: 'alias/a' } } as const
  const Namespace = { type: 'Namespace', id: 'shop', attributes: { exists: true, name: 'shop' } } as const
  const HsmConnection = { type: 'HsmConnection', id: 'a', attributes: { exists: true, name: 'a' } } as const
  const Key = {
    type: 'Key',
    id: `lid_${'0'.repeat(64)}`,
    attributes: { exists: true, state: 'enabled', effective_state: 'enabled', identity_tags: tags, user_tags: {} },
  } as const
  const requested = { key_spec: 'AES_256', has_parent: false, identity_tags: tags, user_tags: { tenant: 'acme' } }
  return {
    request_id: 'r',
    principal: { id: 'someone', type: 'User', attributes },
    action,
    resource: { Service, Alias, Namespace, HsmConnection, Key }[toResourceType(action)],
    context: { transport: 'rest', ...(OF_A_NEW_KEY.includes(action) ? { requested } : {}) },
  }
}
const permitted = async (attributes: Question['principal']['attributes'], tags?: Readonly<Record<string, string>>) => {
  const actions: string[] = []
  for (const action of EXPECTED.keys()) {
    const { decision } = await pdp.decide(ask(action, attributes, tags), AbortSignal.timeout(5_000))
    if (decision === 'permit') actions.push(action)
  }
  return actions.sort()
}

describe('the Cedar schema', () => {
  it('declares exactly the actions of the registry and of second resources, each in the group of its effect', async () => {
    const resolved = schemaToJsonWithResolvedTypes(await readFile(new URL('schema.cedarschema', POLICY_DIR), 'utf8'))
    if (resolved.type === 'failure') throw new Error('the schema does not parse')
    const actions = Object.entries(resolved.json['']?.actions ?? {})
    const declared = actions.filter(([, { memberOf }]) => (memberOf ?? []).length > 0)
    expect(Object.fromEntries(declared.map(([name, { memberOf }]) => [name, memberOf?.map(({ id }) => id)]))).toEqual(
      Object.fromEntries([...EXPECTED].map(([name, group]) => [name, [group]])),
    )
    for (const [name, { appliesTo }] of declared) {
      expect([name, appliesTo?.resourceTypes]).toEqual([name, toResourceTypes(name)])
    }
    const groups = actions.filter(([, { memberOf }]) => (memberOf ?? []).length === 0).map(([name]) => name)
    expect(groups.sort()).toEqual(['kms:change', 'kms:read', 'kms:use'])
  })

  it('and the starter policies load without a warning', () => {
    expect(pdp.isReady()).toBe(true)
    expect(telemetry.lines.map(({ level }) => level)).toEqual(['info'])
  })
})

describe('the starter policies', () => {
  it('let the administrator do everything', async () => {
    expect(await permitted({ roles: ['administrator'] })).toEqual([...EXPECTED.keys()].sort())
  })

  it('let the bootstrap principal do nothing without its role', async () => {
    expect(await permitted({})).toEqual([])
  })

  it('let the auditor read and do nothing else', async () => {
    expect(await permitted({ roles: ['auditor'] })).toEqual(READS.sort())
    expect(READS).toEqual(expect.arrayContaining(['kms:DescribeKey', 'kms:ListKeys', 'kms:GetLedgerHead']))
  })

  it('let an auditor read only, whatever else the principal is', async () => {
    expect(await permitted({ roles: ['auditor', 'administrator'], tenant: 'acme' }, { tenant: 'acme' })).toEqual(
      READS.sort(),
    )
  })

  it('let a key user use, describe, list and make the keys of its tenant', async () => {
    const uses = [...EXPECTED].filter(([name, group]) => group === 'kms:use' && !isAboutService(name))
    expect(await permitted({ tenant: 'acme' }, { tenant: 'acme' })).toEqual(
      [
        ...uses.map(([name]) => name),
        'kms:Batch',
        'kms:CreateChildKey',
        'kms:CreateKey',
        'kms:DescribeKey',
        'kms:ExplainRouting',
        'kms:GetParametersForImport',
        'kms:ImportKey',
        'kms:ListAliases',
        'kms:ListKeys',
        'kms:ListResourceTags',
      ].sort(),
    )
  })

  it.each([
    ['of another tenant', { tenant: 'umbrella' }],
    ['without a tenant', {}],
    ['whose tenant differs in case', { tenant: 'ACME' }],
    ['whose user tag says the tenant', { other: 'acme' }],
  ])('let a key user only list, and touch no key %s', async (_, tags) => {
    expect(await permitted({ tenant: 'acme' }, tags)).toEqual([
      'kms:Batch',
      'kms:GetParametersForImport',
      'kms:ListAliases',
      'kms:ListKeys',
    ])
  })

  it('let nobody touch a key that does not exist but who may touch any', async () => {
    const resource = { type: 'Key', id: 'alias/none', attributes: { exists: false } } as const
    const decide = async (attributes: Question['principal']['attributes']) =>
      (await pdp.decide({ ...ask('kms:Decrypt', attributes), resource }, AbortSignal.timeout(5_000))).decision
    expect(await decide({ tenant: 'acme' })).toBe('deny')
    expect(await decide({ roles: ['administrator'] })).toBe('permit')
  })
})
