using static Mesh.Hbone.Conformance.FieldBlocks;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 7541, section 2.3: the static table, the dynamic table, and their one space of indices.</summary>
public sealed class Hpack2_3_IndexingTablesTests
{
    private const string BeyondTheTables = "Indices greater than the sum of the lengths of both tables MUST be treated as a decoding error.";

    private static readonly ConformanceTable Cases =
    [
        Decodes("7541 2.3.1", "entries of the static table", "The static table has 61 entries (appendix A).", new FieldBlock("", "90a0bd", ("accept-encoding", "gzip, deflate"), ("cookie", ""), ("www-authenticate", ""))),
        Decodes("7541 2.3.2", "two entries, and both by their index", "The dynamic table is first in, first out: the newest entry has the lowest index.", new FieldBlock("", "40016101624001630164bfbe", ("a", "b"), ("c", "d"), ("a", "b"), ("c", "d"))),
        Decodes("7541 2.3.2", "the same entry twice", "The dynamic table can contain duplicates; they MUST NOT be treated as an error.", new FieldBlock("", "40016101624001610162bfbe", ("a", "b"), ("a", "b"), ("a", "b"), ("a", "b"))),
        Decodes("7541 2.3.2", "an entry, and its index in the next block", "The table lives as long as the connection.", new FieldBlock("", "4001610162", ("a", "b")), new FieldBlock("", "be", ("a", "b")), new FieldBlock("", "be", ("a", "b"))),
        Fails("7541 2.3.3", "index 62 when the table is empty", BeyondTheTables, "be"),
        Fails("7541 2.3.3", "index 63 when the table has one entry", BeyondTheTables, "bf", new FieldBlock("", "4001610162", ("a", "b"))),
        Fails("7541 2.3.3", "index 2^28", BeyondTheTables, "ff81ffff7f"),
        Fails("7541 2.3.3", "a literal that is kept, its name at index 62", BeyondTheTables, "7e0162"),
        Fails("7541 2.3.3", "a literal that is not kept, its name at index 62", BeyondTheTables, "0f2f0162"),
        Fails("7541 2.3.3", "a literal that is never kept, its name at index 62", BeyondTheTables, "1f2f0162"),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
