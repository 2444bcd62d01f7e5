import { blake3 } from '@noble/hashes/blake3.js'
import { describe, expect, test } from 'vitest'
import { toJobId } from '../../../projections/rotationJobs.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { toLidBytes } from '../../../src/core/lid.ts'
import { eventOf, fold, keyCreated, lidOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { live } from '../../fixtures/virtualTime.ts'

const family = async (stack: PipelineStack) => {
  const root = await stack.createKey()
  const middle = await stack.createKey({ parent_key_id: root })
  const leaf = await stack.createKey({ parent_key_id: middle })
  return { root, middle, leaf }
}

const jobsOf = async (stack: PipelineStack, body: Readonly<Record<string, unknown>> = {}) =>
  (await stack.succeed('ListRotationJobs', body)).items

describe('rotating a key', () => {
  test('opens a job for each living descendant, from one event', async () => {
    await using stack = await createPipelineStack()
    const { root, middle, leaf } = await family(stack)
    const from = stack.ports.events.length
    const { rotation_jobs, new_version } = await stack.succeed('RotateKey', { key_id: root })
    expect([rotation_jobs, stack.ports.events.length - from]).toEqual([2, 1])
    const jobs = await jobsOf(stack)
    expect(
      jobs.map(({ key_id, rotated_key_id, rotated_to_version, state }) => [
        key_id,
        rotated_key_id,
        rotated_to_version,
        state,
      ]),
    ).toEqual([
      [middle, root, new_version, 'pending'],
      [leaf, root, new_version, 'pending'],
    ])
  })

  test('names each job by BLAKE3 of the event and the key', async () => {
    const id = '01234567-89ab-7fff-bfff-ffffffffffff'
    const bytes = Buffer.concat([Buffer.from('0123456789ab7fffbfffffffffffffff', 'hex'), toLidBytes(lidOf(2))])
    expect(toJobId(id, lidOf(2))).toBe(Buffer.from(blake3(bytes)).toString('hex'))
  })

  test('of a key without descendants opens none', async () => {
    await using stack = await createPipelineStack()
    expect((await stack.succeed('RotateKey', { key_id: await stack.createKey() })).rotation_jobs).toBe(0)
    expect(await jobsOf(stack)).toEqual([])
  })
})

describe('a rotation job', () => {
  const open = async (stack: PipelineStack) => {
    const { root, leaf } = await family(stack)
    await stack.succeed('RotateKey', { key_id: root })
    const [job] = await jobsOf(stack, { key_id: leaf })
    return { root, leaf, job_id: job?.job_id ?? '' }
  }

  test('is acknowledged, then completed; nothing leaves its end', async () => {
    await using stack = await createPipelineStack()
    const { job_id } = await open(stack)
    expect((await stack.succeed('AcknowledgeRotationJob', { job_id })).job.state).toBe('acknowledged')
    expect(toCode(await stack.send('AcknowledgeRotationJob', { job_id }))).toBe('INVALID_STATE_TRANSITION')
    expect((await stack.succeed('CompleteRotationJob', { job_id })).job.state).toBe('completed')
    for (const [operation, body] of [
      ['AcknowledgeRotationJob', {}],
      ['CompleteRotationJob', {}],
      ['FailRotationJob', { reason: 'late' }],
    ] as const)
      expect(toCode(await stack.send(operation, { job_id, ...body }))).toBe('INVALID_STATE_TRANSITION')
  })

  test('fails with a reason that a reader sees', async () => {
    await using stack = await createPipelineStack()
    const { leaf, job_id } = await open(stack)
    await stack.succeed('FailRotationJob', { job_id, reason: 'the database is read-only' })
    const [job] = await jobsOf(stack, { state: 'failed', key_id: leaf })
    expect(job?.reason).toBe('the database is read-only')
  })

  test('expires after its time: at once for readers, by one event for the rotation', async () => {
    await using stack = await createPipelineStack()
    const { leaf, job_id } = await open(stack)
    await stack.time.jump(LIMITS.rotationJobExpiryMs)
    expect((await jobsOf(stack, { key_id: leaf }))[0]?.state).toBe('expired')
    expect(toCode(await stack.send('AcknowledgeRotationJob', { job_id }))).toBe('INVALID_STATE_TRANSITION')
    stack.pipeline.duties.start()
    await live(stack.time, 60_000)
    const expired = stack.ports.events.filter(({ type }) => type === 'RotationJobsExpired')
    expect(expired.map(({ data }) => data)).toMatchObject([{ expired: 2 }])
    await stack.pipeline.duties.stop()
  })

  test('that does not exist is asked about too, and only a permit tells', async () => {
    await using stack = await createPipelineStack()
    const job_id = '0'.repeat(64)
    expect(toCode(await stack.send('CompleteRotationJob', { job_id }))).toBe('NOT_FOUND')
    stack.pdp.script('deny')
    expect(toCode(await stack.send('CompleteRotationJob', { job_id }))).toBe('ACCESS_DENIED')
  })

  test('is found by state and key, page by page', async () => {
    await using stack = await createPipelineStack()
    const { root, leaf, job_id } = await open(stack)
    await stack.succeed('RotateKey', { key_id: root })
    await stack.succeed('CompleteRotationJob', { job_id })
    expect((await jobsOf(stack, { state: 'completed' })).map(({ job_id: id }) => id)).toEqual([job_id])
    expect((await jobsOf(stack, { key_id: leaf })).length).toBe(2)
    const first = await stack.succeed('ListRotationJobs', { max_results: 3 })
    const second = await stack.succeed('ListRotationJobs', { max_results: 3, cursor: first.next_cursor })
    expect([first.items.length, second.items.length, second.next_cursor]).toEqual([3, 1, undefined])
  })
})

describe('the jobs that are remembered', () => {
  const rotated = (version: number) =>
    eventOf('KeyRotated', {
      lid: lidOf(1),
      version,
      cause: 'request',
      material: { backend: 'main', sealed_handle: Buffer.from([1]) },
    })

  test('are forgotten, oldest first, when they are older than what is kept', () => {
    const view = fold([keyCreated(1), keyCreated(2, { parent: lidOf(1) }), rotated(2)])
    expect(view.rotationJobs.byId.size).toBe(1)
    const later = { ...view, at: { ...view.at, seq: LIMITS.rotationJobsKeptMs / 1000 + 10 } }
    const after = fold([{ ...rotated(3), id: 'fedcba98-7654-7fff-bfff-ffffffffffff' }], later)
    expect([after.rotationJobs.byId.size, after.rotationJobs.order.size, after.rotationJobs.dropped]).toEqual([1, 1, 1])
    expect(after.rotationJobs.rotations.size).toBe(1)
  })
})
