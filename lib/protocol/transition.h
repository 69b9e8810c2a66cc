// A state machine is one table: from, event, to. What is not in the table does not happen.
#ifndef MCP_LIB_PROTOCOL_TRANSITION_H_
#define MCP_LIB_PROTOCOL_TRANSITION_H_

#include <cstddef>

namespace mcp::internal {

template <class State, class Event>
struct Transition {
  State from;
  Event event;
  State to;
};

// Moves `*state` as the table says. False, and no move, where the table says nothing.
template <class State, class Event, size_t kSize>
bool Move(const Transition<State, Event> (&table)[kSize], State* state, Event event) {
  for (const Transition<State, Event>& transition : table) {
    if (transition.from != *state || transition.event != event) continue;
    *state = transition.to;
    return true;
  }
  return false;
}

}  // namespace mcp::internal

#endif  // MCP_LIB_PROTOCOL_TRANSITION_H_
