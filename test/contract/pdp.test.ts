import { createCedar } from '../../src/pdp/cedar.ts'
import { createFakePdp } from '../fixtures/fakePdp.ts'
import { createPolicyFolder } from '../fixtures/policyFolder.ts'
import { describePdp } from './pdp.suite.ts'

const ALICE = `@id("alice")
permit (principal == User::"alice", action == Action::"kms:Encrypt", resource is Key) when { resource.exists };`

describePdp('cedar', async () => {
  const folder = await createPolicyFolder('schema')
  await folder.write('alice.cedar', ALICE)
  const telemetry = { operationDone: () => undefined, log: () => undefined }
  const pdp = await createCedar({ policyDir: folder.dir, telemetry, scheduler: { after: () => () => undefined } })
  return {
    pdp,
    breakIt: async () => pdp.close(),
    dispose: async () => {
      pdp.close()
      await folder.dispose()
    },
  }
})

describePdp('the fake', async () => {
  const pdp = createFakePdp(({ principal, action, resource }) =>
    principal.id === 'alice' && action === 'kms:Encrypt' && resource.attributes.exists ? 'permit' : 'deny',
  )
  return { pdp, breakIt: async () => pdp.script('throw'), dispose: async () => undefined }
})
