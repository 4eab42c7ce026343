// Labels of saas_connection_info that other metrics of a connection do not have.
local labels = [
  'status',
  'uuid',
  'source_entity',
  'source_entity_name',
  'target_entity',
  'target_entity_name',
  'header_name',
  'allowed_domain',
  'permission_scope',
  'grant_type',
];
{
  // Returns the list of these labels for `without` and `ignoring`, except for those to keep.
  labels(kept=[]): std.join(', ', [label for label in labels if !std.member(kept, label)]),
}
