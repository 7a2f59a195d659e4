/* The contract's types under plain names, and what the parts of the adapter share. What a function returns to the edge must be
 * allocated: the generated code frees it. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "json.h"
#include "venue_adapter.h"

typedef venue_adapter_string_t string_t;
typedef venue_adapter_list_string_t strings_t;
typedef marketprism_adapter_types_feed_t feed_t;
typedef marketprism_adapter_types_endpoint_t endpoint_t;
typedef marketprism_adapter_types_instrument_t instrument_t;
typedef exports_marketprism_adapter_adapter_list_instrument_t instruments_t;
typedef marketprism_adapter_types_plan_t plan_t;
typedef marketprism_adapter_types_refusal_t refusal_t;
typedef marketprism_adapter_types_request_t request_t;
typedef marketprism_adapter_types_trade_range_t trade_range_t;
typedef marketprism_adapter_types_normalized_t normalized_t;
typedef marketprism_adapter_types_ignored_t ignored_t;
typedef marketprism_adapter_types_data_type_t data_type_t;

#define TRADE MARKETPRISM_ADAPTER_TYPES_DATA_TYPE_TRADE
#define ORDERBOOK MARKETPRISM_ADAPTER_TYPES_DATA_TYPE_ORDERBOOK

enum { DEPTH_OFFERED = 500 };

/* Allocates, or ends the instance: nothing useful can be done without memory. */
void *allocated(size_t size);
/* `count` elements of `size` bytes, all zero. */
void *zeroed(size_t count, size_t size);
/* A copy of these texts, one behind the other; the last one is NULL. */
string_t joined(const char *first, ...);
string_t copied(bytes_t bytes);
bytes_t bytes_of(string_t string);
/* The digits of a number, in a buffer of at least 11 bytes. */
const char *number_text(uint32_t number, char *buffer);

bool refuse(refusal_t *refusal, const char *field, string_t value, const char *allowed);
/* True for a feed that can be served, whatever its symbols. */
bool check_feed(const feed_t *feed, refusal_t *refusal);
bool wants(const feed_t *feed, data_type_t data_type);
/* The address of this name, with the user's replacement; not allocated. */
bytes_t endpoint_url(const feed_t *feed, const char *name);

/* What the instance was loaded with. */
typedef struct {
    bool ready;
    feed_t feed;
    instruments_t instruments;
} loaded_t;

void make_plan(const loaded_t *loaded, plan_t *plan);
/* The instrument is one of the feed. */
void make_backfill(const loaded_t *loaded, const trade_range_t *trades, request_t *request);

/* The meaning of a batch, as it grows. */
typedef struct {
    normalized_t normalized;
    size_t events_room, levels_room, notes_room;
    uint32_t frame;
} output_t;

void output_begin(output_t *output, size_t frames, size_t bytes);
void output_event(output_t *output, const marketprism_adapter_types_payload_t *payload);
void output_level(output_t *output, int64_t price, int64_t quantity);
void output_note(output_t *output, const marketprism_adapter_types_remark_t *remark);
void output_ignored(output_t *output, ignored_t reason);
/* Gives the lists away; those that stayed empty are freed. */
void output_end(output_t *output, normalized_t *normalized);

/* Gives a frame its meaning. False at a fault, which stands in the reading. */
bool normalize_frame(const loaded_t *loaded, output_t *output, reading_t *reading, bytes_t frame);

#endif
