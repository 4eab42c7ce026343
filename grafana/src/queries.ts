//! What is asked of Prometheus: each question that more than one panel has, once.
//!
//! Expressions aggregate by what identifies a thing. Clusters and jobs are kept apart, instances are
//! not: an account may move to another shard, a restart may change its instance, and an exporter may
//! be scraped twice. In all of these nothing is to be counted twice.
//!
//! Recording rules of deploy/prometheus/alerts.yaml are used where there are any. Where a rule only
//! makes a metric more reliable, the metric stands in for it.

/** Where a series comes from. Without a label `cluster` there is one cluster. */
export const ORIGIN = "cluster, job";
/** What identifies an instance, an account, a target, a connection. */
export const INSTANCE = `${ORIGIN}, instance`;
export const ACCOUNT = `${ORIGIN}, system, account`;
export const TARGET = `${ACCOUNT}, target`;
export const CONNECTION = `${TARGET}, connection, connection_type`;

const ofOrigin = 'cluster=~"$cluster",job=~"$job"';
const ofSystem = `${ofOrigin},system=~"$system"`;
const ofAccount = `${ofSystem},account=~"$account"`;
const ofTarget = `${ofAccount},target=~"$target"`;
const selecting = (selector: string) => (metric: string, more = "") => `${metric}{${selector}${more ? `,${more}` : ""}}`;

/** A metric of exporters, systems, accounts or targets, as the variables narrow it. */
export const exporter = selecting(ofOrigin);
export const system = selecting(ofSystem);
export const account = selecting(ofAccount);
export const target = selecting(ofTarget);

/** One value for each thing, whichever instances show it. */
export const max = (by: string, of: string) => `max by (${by}) (${of})`;
export const min = (by: string, of: string) => `min by (${by}) (${of})`;
export const sum = (by: string, of: string) => `sum by (${by}) (${of})`;
export const rate = (of: string) => `rate(${of}[$__rate_interval])`;
const increase = (of: string) => `increase(${of}[$__rate_interval])`;
/** A counter's rate or increase, for each thing once, although two scrapes may see it. */
export const rateOf = (by: string, of: string) => max(by, rate(of));
export const increaseOf = (by: string, of: string) => max(by, increase(of));
/** The same over the time range that is shown. */
export const rangeOf = (by: string, of: string) => max(by, `increase(${of}[$__range])`);

/**
 * How many there are: 0 where there are others but none of these, and no value where there is nothing
 * to count. What is not seen is not well.
 */
export const counted = (of: string, among: string) => `count(${of}) or 0 * count(${among})`;

/** The targets there are, at their polling intervals: there before the first poll. */
export const interval = max(TARGET, target("connections_exporter_target_poll_interval_seconds"));
const success = target("connections_exporter_target_last_success_timestamp_seconds");
const duration = max(TARGET, target("connections_exporter_target_last_poll_duration_seconds"));
/** Seconds from each target's last complete listing to the last scrape. */
export const age = `(${[
  max(TARGET, target("target:connections_exporter_listing_age_seconds")),
  min(TARGET, `timestamp(${success}) - ${success}`),
].join("\nor ")})`;
/** Targets with a listing that is too old, at its age: by the threshold of ConnectionsTargetStale. */
const stale = `${age} > clamp_min(3 * ${interval}, 60) + (${duration} or 0 * ${interval})`;
/** Targets without any listing, at their intervals. */
const never = `${interval} unless ${age}`;

/**
 * How much of a target can be believed, the worst first:
 * 4 never listed, 3 stale, 2 the last poll failed, 1 restored after a restart, 0 current.
 */
export const believed = [
  `(4 + 0 * ${interval} unless ${age})`,
  `(3 + 0 * (${stale}))`,
  `2 * ${max(TARGET, target("connections_exporter_target_failing"))}`,
  `${max(TARGET, target("connections_exporter_target_restored"))} == 1`,
  `0 * ${interval}`,
].join("\nor ");
/** Targets of which nothing current is known. */
export const blind = `((${stale}) or (${never}))`;

/** Of rows with the labels of connections: how much their targets can be believed. */
export const believedOf = (rows: string) => `0 * ${rows} + on (${TARGET}) group_left () (\n${believed}\n)`;

/** Whether what is expected of each target is there. */
export const expected = `((${[
  max(`${TARGET}, expected`, target("target:saas_connection_expected_present:last")),
  max(`${TARGET}, expected`, target("saas_connection_expected_present")),
].join("\nor ")}) and on (${TARGET}) ${interval})`;

/** Connections of each target that can be used. Without this record no token can be judged. */
export const usable = max(TARGET, target("target:saas_connections:usable"));

const token = (metric: string, more = "") => target(`saas_connection_token_${metric}`, more);
const unrenewedExpiry = target("connection:saas_connection_token_expiry_timestamp_seconds:unrenewed");
/** Seconds left of tokens that nothing is known to renew. */
const unrenewed = `(${unrenewedExpiry} - time())`;
/** Seconds by which renewals are late. */
const late = target("connection:saas_connection_token_renewal_late_seconds");
/** A value of each token; of a target without a current listing where alerts still watch it. */
const watched = (listed: string, recorded: string) =>
  `(${max(CONNECTION, listed)} or ${max(CONNECTION, recorded)} and on (${TARGET}) ${interval})`;
/** When each stored token expires. */
export const expiry = watched(token("expiry_timestamp_seconds"), unrenewedExpiry);
/** Seconds until then. */
export const left = watched(token("expires_in_seconds"), unrenewed);
/** The tokens that have an expiry, by instance, and those that alerts still watch. */
const known = `(${token("expires_in_seconds")} or (${unrenewedExpiry} or ${late}) and on (${TARGET}) ${interval})`;
export const tokens = max(CONNECTION, known);
/** What is said of tokens, without connections that have no expiry. */
const ofTokens = (values: string) => max(CONNECTION, `(${values}) and on (${CONNECTION}) ${known}`);

const renewal = token("last_renewal_timestamp_seconds");
const gap = token("longest_renewal_gap_seconds");
const seenLifetime = token("seen_lifetime_seconds");
const refreshable = target("saas_connection_refresh_token_stored");
const firstSeen = target("saas_connection_first_seen_timestamp_seconds");
const granted = (grant: string) => target("saas_connection_info", `grant_type="${grant}"`);

/** When each token was last renewed; of a stale target the exporter still knows it. */
export const lastRenewal = ofTokens(renewal);
/** When the next renewal comes, if it takes as long as the longest seen. */
export const nextRenewal = ofTokens(`${renewal} + ${gap}`);
export const lifetime = ofTokens(seenLifetime);
/** 1 where a refresh token is stored, else 0. */
export const refresh = ofTokens(refreshable);
/** 0 unknown, 1 authorization_code, 2 client_credentials. */
export const grant = ofTokens(`${granted("authorization_code")} or 2 * ${granted("client_credentials")} or 0 * ${token("expires_in_seconds")}`);
/** Seconds by which each token's renewal is late; 0 where renewals are known and the next is not late. */
export const lateBy = ofTokens(`${late} or 0 * ${renewal} and on (${TARGET}) ${usable}`);

/** Tokens that have to be replaced before they expire, with so many seconds left or less. */
const toReplaceExpiry = target("connection:saas_connection_token_expiry_timestamp_seconds:to_replace");
const within = (limit: string) => `(${toReplaceExpiry} - time()) ${limit}`;
const lastThird = `on (${CONNECTION}) group_left () clamp_max(clamp_min(${max(CONNECTION, seenLifetime)} / 3, 129600), 604800)`;
/** Refresh tokens that were not used for 20 days, as far as renewals show. */
const idle = `(time() - (${renewal} or ${token("expiry_timestamp_seconds")} < ${firstSeen} or ${firstSeen}) > 20 * 86400 and ${refreshable} == 1)`;
const ruled = (of: string) => `${of} and on (${TARGET}) ${usable}`;

// The sets below are filtered first and aggregated last: there may be many tokens.
const EXPIRED = `${within("<= 0")} or ${unrenewed} < -86400`;
const STOPPED = `${late} > 86400`;
const LAST_DAY = within("< 86400");
const LAST_THIRD = within(`< ${lastThird}`);
const numbered = (state: number, of: string) => `${state} + 0 * (${of})`;
/**
 * The state of each stored token, the worst last, by the rules and thresholds of the alerts. Their
 * names are in states.ts. A past expiry says little by itself: tokens are renewed when they are used.
 */
export const tokenState = ofTokens(
  [
    numbered(10, EXPIRED),
    numbered(9, STOPPED),
    numbered(8, LAST_DAY),
    numbered(7, late),
    numbered(6, LAST_THIRD),
    numbered(5, ruled(idle)),
    numbered(4, unrenewed),
    numbered(3, ruled(renewal)),
    numbered(2, ruled(`${refreshable} == 1`)),
    numbered(1, ruled(granted("client_credentials"))),
    numbered(0, known),
  ].join("\nor "),
);
/** Tokens with a state from 8 on, from 5 to 7, and with state 3. */
const toReplace = `${LAST_DAY} or ${unrenewed} < -86400 or ${STOPPED}`;
const toCheck = `(${LAST_THIRD} or ${late} or ${ruled(idle)}) unless on (${CONNECTION}) (${toReplace})`;
const renewed = `${ruled(renewal)} unless on (${CONNECTION}) (${unrenewedExpiry} or ${late} or ${idle})`;
/** How many they are; -1 where there are tokens and no rules to judge them. */
const howMany = (those: string) =>
  [`count(${ofTokens(those)})`, `0 * count(${known} and on (${TARGET}) (${usable} or ${unrenewedExpiry} or ${late}))`, `-1 * group(${known})`].join("\nor ");
export const tokensToReplace = howMany(toReplace);
export const tokensToCheck = howMany(toCheck);
export const tokensRenewed = howMany(renewed);
/** Of tokens, those with state 0, or from 4 on. */
export const toWatch = (of: string) =>
  `(${of}) and on (${CONNECTION}) (${[
    unrenewedExpiry,
    late,
    ruled(idle),
    `${known} unless on (${TARGET}) ${usable}`,
    `${known} unless on (${CONNECTION}) (${renewal} or ${refreshable} == 1 or ${granted("client_credentials")})`,
  ].join("\nor ")})`;

/** An edge has one identity, whichever of its two ends lists it. */
export const EDGE = `${ACCOUNT}, connection`;
const ends = ["source", "target"];
const named = `${EDGE}, ${ends.map((end) => `${end}_name`).join(", ")}`;
/** Edges with both ends by name, or by the first digits of the id where no name is known. */
const withNames = (of: string) =>
  max(
    named,
    ends
      .flatMap((end) => [
        [`${end}_entity`, "(.{8}).*"],
        [`${end}_entity_name`, "(.+)"],
      ].map(([label, pattern]) => (inner: string) => `label_replace(${inner}, "${end}_name", "$1", "${label}", "${pattern}")`))
      .reduce((inner, wrap) => wrap(inner), of),
  );

const inStatus = (status: string) => target("saas_connection_info", `status="${status}"`);
const listed = target("saas_connection_info", 'status!=""');
const gone = `${target("saas_connection_gone_timestamp_seconds")} unless on (${EDGE}) ${listed}`;
const lostAtEnds = target("saas_connection_lost_timestamp_seconds");
/** Edges that were connected and are not any more, as the alert judges: since when. */
export const lost = max(EDGE, lostAtEnds);
/** Those of edges that are listed, or are no longer listed, for which there is something. */
const edgesWith = (something: string) => `(${listed} or ${gone}) and on (${EDGE}) (${something})`;
/** What is known of edges, on rows with both ends by name. */
const onEdges = (of: string) => `0 * ${withNames(edgesWith(of))} + on (${EDGE}) group_left () ${max(EDGE, of)}`;

const STATUSES = ["disconnected", "other", "pending", "connected"];
const GONE = STATUSES.length;
const state = (status: string) => `${STATUSES.indexOf(status)} * ${withNames(inStatus(status))}`;
const lostEdges = `${GONE} + 0 * ${withNames(edgesWith(lostAtEnds))}`;
/**
 * For each listed edge 0 disconnected, 1 an unknown status, 2 pending, 3 connected. Where its two ends
 * disagree one of them was asked earlier: what comes later in the life of a connection is then the
 * newer, since nothing leads back.
 */
export const edgeStates = ["disconnected", "connected", "other", "pending"].map(state).join("\nor ");
/** The same, and at 4 those that are no longer listed, for a week. */
export const allEdges = [state("disconnected"), lostEdges, `${GONE} + 0 * ${withNames(gone)}`, ...["connected", "other", "pending"].map(state)].join("\nor ");
const disconnected = `0 * ${withNames(inStatus("disconnected"))}`;
const unfinished = ["other", "pending"].map(
  (status) => `${STATUSES.indexOf(status)} * ${withNames(`${inStatus(status)} unless on (${EDGE}) ${inStatus("connected")}`)}`,
);
/** Without those that are connected. One that is no longer listed is among them if it was lost. */
export const notConnected = [disconnected, lostEdges, ...unfinished].join("\nor ");
export const lostAt = onEdges(lostAtEnds);
const firstSeenDate = target("saas_connection_first_seen_timestamp_seconds");
const statusChanged = target("saas_connection_status_changed_timestamp_seconds");
const lastConnected = target("saas_connection_last_connected_timestamp_seconds");
export const [firstSeenAt, statusChangedAt, lastConnectedAt] = [firstSeenDate, statusChanged, lastConnected].map(onEdges);
/** The same without the edges that are connected. */
const apart = (of: string) => `${of} unless on (${EDGE}) ${target("saas_connection_connected")} == 1`;
export const [apartStatusChangedAt, apartLastConnectedAt] = [statusChanged, lastConnected].map(apart).map(onEdges);

/** 1 for each connection, an edge that both ends list counted once. */
export const connections = `${max(CONNECTION, target("saas_connection_info", 'status=""'))} or ${max(EDGE, listed)}`;

/** Narrowed to instances of this program, whatever the job is called. */
export const ours = (of: string) => `${of} and on (${INSTANCE}) ${exporter("connections_exporter_build_info")}`;
const recently = ["build_info", "api_budget_requests_per_second"].map((metric) => `last_over_time(${exporter(`connections_exporter_${metric}`)}[1d])`);
const scraped = `${exporter("up")} and on (${INSTANCE}) (${[...recently, exporter("ALERTS", 'alertname="ConnectionsExporterDown"')].join(" or ")})`;
/**
 * Whether each instance is up; also those that are down now but were seen within a day, or for as long
 * as their alert fires. One that `/sd` lists in parts, of which those of accounts add their names to
 * its own, is one; and up if all of them are.
 */
export const instances = min(
  INSTANCE,
  `label_replace(${min(`${ORIGIN}, process`, `label_replace(${scraped}, "process", "$1", "instance", "(.+?)(/(zuora|zis)/.+)?")`)}, "instance", "$1", "process", "(.+)")`,
);

const budget = (kind: string) => max(ACCOUNT, account("connections_exporter_api_budget_requests_per_second", `kind="${kind}"`));
/** Requests a second that each account may send now. */
export const effective = budget("effective");
/** The accounts that are paused: until when. */
export const paused = max(ACCOUNT, account("connections_exporter_api_paused_until_timestamp_seconds"));
/** What holds each account's requests back: 0 nothing, 1 less than its whole budget, 2 a pause. */
export const heldBack = [`2 + 0 * ${paused}`, `${effective} < bool ${budget("configured")}`].join("\nor ");
export const requests = sum(ACCOUNT, rateOf(`${ACCOUNT}, endpoint, code`, account("connections_exporter_api_requests_total")));
export const planned = max(ACCOUNT, account("connections_exporter_api_planned_requests_per_second"));
/** What the schedule needs, as a share of what each account may send now. */
export const plannedShare = max(ACCOUNT, account("account:connections_exporter_api_budget_used:ratio"));
const WINDOW = `${ACCOUNT}, window`;
const quotas = (what: "limit" | "remaining") => max(WINDOW, account(`connections_exporter_api_quota_${what}`));
const quotaUsed = max(WINDOW, account("account:connections_exporter_api_quota_used:ratio"));
export const quotaLimit = quotas("limit");
/** What a vendor said of a window says nothing once the window is over. */
export const quotaLeft = `(${quotas("remaining")} and ${quotaUsed})`;
/** As a share. */
export const quotaShare = `1 - ${quotaUsed}`;

/** Whether the data source has the results of the recording rules, where there is an exporter. */
export const rules = `(count(${plannedShare}) > bool 0) or 0 * count(${effective})`;

/** Provisioned entities that the credential of each account cannot access. */
export const unreached = max(ACCOUNT, account("connections_exporter_targets_unreached"));
const ENTITY = `${ACCOUNT}, entity, name, parent, status`;
const listedEntities = max(ENTITY, account("saas_entity_info", 'name=~"$target"'));
/** For each parent's id its name. */
const parents = `topk by (${ACCOUNT}, parent) (1, ${max(
  `${ACCOUNT}, parent, parent_name`,
  `label_replace(label_replace(${account("saas_entity_info")}, "parent_name", "$1", "name", "(.+)"), "parent", "$1", "entity", "(.+)")`,
)})`;
/** 1 for each entity with the name of a chosen target, with its parent's name where the tenant lists the parent. */
export const entities = `(${listedEntities} * on (${ACCOUNT}, parent) group_left (parent_name) ${parents}\nor ${listedEntities} unless on (${ACCOUNT}, parent) ${parents})`;
/** How much of targets can be believed, by the names of entities. */
export const believedByName = max(`${ACCOUNT}, name`, `label_replace((${believed}), "name", "$1", "target", "(.+)")`);

/** The exporters' clocks minus that of Prometheus, at the last scrape. */
const clock = exporter("connections_exporter_time_seconds");
export const clockDifference = `(${clock} - timestamp(${clock}))`;

const ofCredential = (metric: string) => max(`${ACCOUNT}, credential`, account(metric));
const renewable = ofCredential("connections_exporter_credential_renewable");
/** Seconds until the exporter's own tokens expire. */
export const credentialLeft = `${ofCredential("connections_exporter_credential_expiry_timestamp_seconds")} - time()`;
/** 0 somebody has to replace it, 1 not judged, 2 something replaces it, 3 the exporter renews it. */
export const credentialState = [
  `0 * ${ofCredential("credential:connections_exporter_credential_expires_in_seconds:unrenewed")} and ${renewable}`,
  `3 * ${renewable} == 3`,
  `(1 + ${renewable} unless on (${ACCOUNT}) ${plannedShare})`,
  `2 + ${renewable}`,
].join("\nor ");

/** Whether the last discovery of each account's targets succeeded, and when one last did. */
export const discovery = max(ACCOUNT, account("connections_exporter_discovery_up"));
export const discovered = max(ACCOUNT, account("connections_exporter_discovery_last_success_timestamp_seconds"));
