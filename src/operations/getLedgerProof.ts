import { must, ok } from '../core/result.ts'
import { type Operation, planRecord } from './operation.ts'

export const getLedgerProof: Operation<'GetLedgerProof'> = {
  targets: () => ok([{ kind: 'service', action: 'kms:GetLedgerProof' }]),
  evidence: ({ seq, index, tree_size: treeSize, from_size: fromSize }) =>
    ok({
      kind: 'proof',
      query: {
        seq,
        ...(index === undefined ? {} : { index }),
        ...(treeSize === undefined ? {} : { treeSize }),
        ...(fromSize === undefined ? {} : { fromSize }),
      },
    }),
  plan({ seq }, { proof }) {
    must(proof !== undefined, 'the pipeline has brought the proof')
    const { event, consistency, checkpoint } = proof
    return ok(
      planRecord([], () => ({
        event: { type: 'LedgerProofRead', data: { seq } },
        resources: [],
        toReply: () => ({
          origin: proof.origin,
          seq: proof.seq,
          tree_size: proof.treeSize,
          root: proof.root,
          envelope: proof.envelope,
          path: [...proof.path],
          ...(event === undefined
            ? {}
            : { event: { index: event.index, leaf_hash: event.leafHash, path: [...event.path] } }),
          ...(consistency === undefined
            ? {}
            : {
                consistency: {
                  from_size: consistency.fromSize,
                  from_root: consistency.fromRoot,
                  path: [...consistency.path],
                },
              }),
          ...(checkpoint === undefined ? {} : { checkpoint }),
        }),
      })),
    )
  },
}
