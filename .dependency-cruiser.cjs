/** Arrows point to lower tiers only, types included; adapters do not know each other. */
const tier = (name, from, to, comment) => ({ name, comment, severity: 'error', from, to })

module.exports = {
  forbidden: [
    tier('no-cycles', {}, { circular: true }, 'A cycle has no bottom to start reading from.'),
    tier('schemas-are-tier-0', { path: '^schemas/' }, { path: '^(src|projections)/' }, 'The contract knows nobody.'),
    tier(
      'schemas-import-typebox-only',
      { path: '^schemas/' },
      { dependencyTypes: ['npm', 'npm-dev', 'core'], pathNot: 'node_modules/typebox/' },
      'The contract stays readable by anything that reads JSON Schema.',
    ),
    tier('core-is-tier-1', { path: '^src/core/' }, { path: '^(projections/|src/(?!core/))' }, 'The pure core knows only schemas.'),
    tier('projections-are-tier-2', { path: '^projections/' }, { path: '^src/(?!core/)' }, 'Folds know the core only.'),
    tier(
      'operations-are-tier-3',
      { path: '^src/operations/' },
      { path: '^src/(?!core/|operations/)' },
      'Operations are pure: no port, no adapter.',
    ),
    tier(
      'pipeline-is-tier-4',
      { path: '^src/pipeline/' },
      { path: '^src/(?!core/|operations/|pipeline/)' },
      'The pipeline calls ports, never adapters.',
    ),
    tier(
      'adapters-do-not-import-each-other',
      { path: '^src/(hsm|ledger|pdp|authn|transport|telemetry)/' },
      { path: '^src/(hsm|ledger|pdp|authn|transport|telemetry|pipeline|operations|cli)/', pathNot: '^src/$1/' },
      'They meet in a composition root.',
    ),
    tier(
      'readers-know-schemas-and-core-only',
      { path: '^src/(docs|client|verify)/' },
      { path: '^(projections/|src/)', pathNot: '^src/($1|core)/' },
      'Client, verifier and documents must stand without the service.',
    ),
    tier(
      'pkcs11-stays-in-hsm',
      { path: '^(src|schemas|projections)/', pathNot: '^src/hsm/' },
      { path: 'node_modules/(graphene-pk11|pkcs11js)/' },
      'PKCS#11 types and codes do not leave src/hsm.',
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'require', 'node', 'default', 'types'], extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'] },
  },
}
