//! What is asked of Prometheus: each question that more than one panel has, once.
//!
//! Every expression aggregates by what identifies a thing, never by `instance` or `job`: an account may move to another shard, a restart may change its
//! instance, and for the minute in which Prometheus still shows both, nothing is to be counted twice.

/** What identifies an account, a target, a connection. */
export const ACCOUNT = "system, account";
export const TARGET = `${ACCOUNT}, target`;
export const CONNECTION = `${TARGET}, connection, connection_type`;

const ofAccount = 'system=~"$system",account=~"$account"';
const ofTarget = `${ofAccount},target=~"$target"`;
const also = (more: string) => (more ? `,${more}` : "");

/** A metric of accounts, as the variables narrow it. */
export const account = (metric: string, more = "") => `${metric}{${ofAccount}${also(more)}}`;
/** A metric of targets, as the variables narrow it. */
export const target = (metric: string, more = "") => `${metric}{${ofTarget}${also(more)}}`;

/** One value for each thing, whichever instances show it. */
export const max = (by: string, of: string) => `max by (${by}) (${of})`;
export const min = (by: string, of: string) => `min by (${by}) (${of})`;
/** Counters add up over instances: those of a restart or of another shard go on from 0. */
export const sum = (by: string, of: string) => `sum by (${by}) (${of})`;
export const rate = (of: string) => `rate(${of}[$__rate_interval])`;
export const increase = (of: string) => `increase(${of}[$__rate_interval])`;

/** The targets there are, at their polling intervals: there before the first poll. */
export const interval = max(TARGET, target("connections_exporter_target_poll_interval_seconds"));
const success = max(TARGET, target("connections_exporter_target_last_success_timestamp_seconds"));
/** Seconds since each target was listed. */
export const age = `time() - ${success}`;

/**
 * A count that is 0 where there are others but none of these, and has no value where there is nothing to count: what is not seen is not well.
 * Where a comparison with `bool` says it of each, a plain `sum` does the same.
 */
export const counted = (of: string, among: string) => `sum(${of}) or 0 * count(${among})`;

/**
 * How much of a target can be believed, the worst first:
 * 4 never listed, 3 not listed for three intervals, 2 the last poll failed, 1 as known before a restart, 0 well.
 */
export const believed = [
  `(4 + 0 * ${interval} unless ${success})`,
  `(3 + 0 * (${age} > 3 * ${interval}))`,
  `2 * ${max(TARGET, target("connections_exporter_target_failing"))}`,
  `${max(TARGET, target("connections_exporter_target_restored"))} == 1`,
  `0 * ${interval}`,
].join("\nor ");

/** Of rows with the labels of connections: how much their targets can be believed. */
export const believedOf = (rows: string) => `0 * ${rows} + on (${TARGET}) group_left () (\n${believed}\n)`;

/** Seconds until each stored token ends. */
export const left = max(CONNECTION, target("saas_connection_token_expires_in_seconds"));
export const WEEK = 7 * 86400;
const expiry = (ago = "") => max(CONNECTION, `${target("saas_connection_token_expiry_timestamp_seconds")}${ago}`);
/** How often since its exporter's start. */
export const renewals = `(${max(CONNECTION, target("saas_connection_token_renewals_total"))} and ${left})`;
/**
 * Seen to renew within seven days, as the alerts judge: the expiry is later than it was then, or than it was first seen if that is less long ago. For that
 * the counter tells, which begins anew with the process, or else what is known of some days. Reading all of seven days would take seconds.
 */
const renews = `(${expiry()} > (${["7d", "3d", "1d"].map((ago) => expiry(` offset ${ago}`)).join(" or ")}) or (${renewals} > 0 unless ${expiry(" offset 7d")}))`;
const refreshable = max(CONNECTION, target("saas_connection_token_renewable"));
/** 1 where a refresh token is stored, else 0. */
export const refresh = `(${refreshable} and ${left})`;

/**
 * What becomes of each stored token, the worst last. Systems renew a token when it is next used, so a past expiry says little by itself:
 * 0 seen to renew within seven days, 1 stores a refresh token, 3 the same but past its expiry for a week,
 * and of those that do neither: 2 ends in over a week, 4 within a week, 5 within a day, 6 ended.
 */
export const fate = [
  `(0 * ${left} and ${renews})`,
  `(1 + 2 * (${left} < bool -${WEEK}) and ${refreshable} == 1)`,
  `2 + 2 * (${left} < bool ${WEEK}) + (${left} < bool 86400) + (${left} <= bool 0)`,
].join("\nor ");

/** An edge has one identity, whichever of its two ends lists it. */
export const EDGE = `${ACCOUNT}, connection`;
const ends = ["source", "target"];
const named = `${EDGE}, ${ends.map((end) => `${end}_name`).join(", ")}`;
/** Connections that have a status, with both ends by name, or by the first digits of the id where no name is known. */
const edges = (status: string) =>
  ends
    .flatMap((end) => [
      [`${end}_entity`, "(.{8}).*"],
      [`${end}_entity_name`, "(.+)"],
    ].map(([label, pattern]) => (inner: string) => `label_replace(${inner}, "${end}_name", "$1", "${label}", "${pattern}")`))
    .reduce((inner, wrap) => wrap(inner), target("saas_connection_info", `status=~"${status}"`));

const STATUSES = ["disconnected", "other", "pending", "connected"];
/**
 * For each edge 0 disconnected, 1 an unknown status, 2 pending, 3 connected. Where its two ends disagree one of them was asked earlier: what comes later
 * in the life of a connection is then the newer, since nothing leads back.
 */
export const edgeStates = ["disconnected", "connected", "other", "pending"]
  .map((status) => `${STATUSES.indexOf(status)} * ${max(named, edges(status))}`)
  .join("\nor ");
/** Edges that are not connected, at their states. */
export const notConnected = `((${edgeStates}) < 3)`;
/** Of edges that are not connected: 1 if they were within the last day, else 0. */
export const lost = `0 * ${notConnected} + on (${EDGE}) group_left () ${max(EDGE, `max_over_time(${target("saas_connection_connected")}[1d])`)}`;

/** 1 for each connection, an edge that both ends list counted once. */
export const connections = `${max(CONNECTION, target("saas_connection_info", 'status=""'))} or ${max(EDGE, target("saas_connection_info", 'status!=""'))}`;

/** Narrowed to instances of this program, whatever the job is called; also to those that are down now but were seen within a day. */
export const ours = (of: string) => `${of} and on (job, instance) connections_exporter_build_info`;
export const instances =
  "up and on (job, instance) (last_over_time(connections_exporter_build_info[1d]) or last_over_time(connections_exporter_target_poll_interval_seconds[1d]))";

/** What holds each account's requests back: 0 nothing, 1 less than its whole budget, 2 a pause. */
export const heldBack = [
  `2 * (${max(ACCOUNT, account("connections_exporter_api_paused_until_timestamp_seconds"))} > bool 0) > 0`,
  `${max(ACCOUNT, account("connections_exporter_api_budget_requests_per_second", 'kind="effective"'))} < bool ${max(ACCOUNT, account("connections_exporter_api_budget_requests_per_second", 'kind="configured"'))}`,
].join("\nor ");
/** Requests a second that each account may send now. */
export const effective = max(ACCOUNT, account("connections_exporter_api_budget_requests_per_second", 'kind="effective"'));
export const requests = sum(ACCOUNT, rate(account("connections_exporter_api_requests_total")));
export const planned = max(ACCOUNT, account("connections_exporter_api_planned_requests_per_second"));
export const quota = (what: "limit" | "remaining") => max(`${ACCOUNT}, window`, account(`connections_exporter_api_quota_${what}`));
