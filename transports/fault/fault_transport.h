// A decorator over any transport that misbehaves as a FaultPlan says: the adversary of the contract suite.
//
// What it keeps of the contract, so that what stands above can be tested at all: a killed connection gives kClosed,
// writes stay in the order of their posting, no memory is touched that the caller did not lend, and nothing is read
// from the caller's memory after Post for work that it holds back, changes or doubles (it works on copies). What it
// breaks, by plan: wholeness, order and number of messages, and the bytes of everything.
//
// A refusal by kPartialPost is followed by a Wait that returns at once: there may be no event to try again after.
//
// Thread rule and lifetime: those of the inner transport. The clock outlives it.
#ifndef MCP_TRANSPORTS_FAULT_FAULT_TRANSPORT_H_
#define MCP_TRANSPORTS_FAULT_FAULT_TRANSPORT_H_

#include <memory>

#include "lib/base/clock.h"
#include "lib/transport/transport.h"
#include "transports/fault/fault_plan.h"

namespace mcp::internal {

std::unique_ptr<Transport> CreateFaultTransport(std::unique_ptr<Transport> inner, Clock* clock,
                                                std::shared_ptr<FaultLedger> ledger);

}  // namespace mcp::internal

#endif  // MCP_TRANSPORTS_FAULT_FAULT_TRANSPORT_H_
