#include "lib/session/grant_table.h"

#include "gtest/gtest.h"

namespace mcp::internal {
namespace {

TEST(GrantTable, ANameServesOnce) {
  GrantTable table;
  Operation first;
  Operation second;
  const uint64_t name = table.Add(&first);
  EXPECT_NE(name, 0u);
  EXPECT_TRUE(table.Known(name));
  EXPECT_EQ(table.Take(name), &first);
  EXPECT_EQ(table.Take(name), nullptr);
  const uint64_t next = table.Add(&second);
  EXPECT_NE(next, name);
  EXPECT_EQ(table.Take(name), nullptr) << "a late answer must not take the place's next user";
  EXPECT_TRUE(table.Known(name));
  EXPECT_EQ(table.Take(next), &second);
}

TEST(GrantTable, NamesThatWereNeverGivenAreNotKnown) {
  GrantTable table;
  Operation operation;
  const uint64_t name = table.Add(&operation);
  EXPECT_FALSE(table.Known(0));
  EXPECT_FALSE(table.Known(name + 1));
  EXPECT_FALSE(table.Known(name + (uint64_t{1} << 32)));
  EXPECT_EQ(table.Take(name + 1), nullptr);
}

TEST(GrantTable, FindsByOperation) {
  GrantTable table;
  Operation one;
  Operation two;
  one.id = 1;
  two.id = 2;
  table.Add(&one);
  const uint64_t name = table.Add(&two);
  EXPECT_EQ(table.Find([](const Operation& operation) { return operation.id == 2; }), name);
  EXPECT_EQ(table.Find([](const Operation& operation) { return operation.id == 3; }), 0u);
}

}  // namespace
}  // namespace mcp::internal
