using static Mesh.Hbone.Conformance.FieldBlocks;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 7541, section 3.2: a field block is a sequence of representations, processed in order.</summary>
public sealed class Hpack3_2_FieldBlockTests
{
    private const string Order = "Representations are processed in the order in which they appear, and give fields in that order.";
    private const string Broken = "A block that ends within a representation cannot be decoded.";

    private static readonly ConformanceTable Cases =
    [
        Decodes("7541 3.2", "every representation in one block", Order, new FieldBlock("", "4001610162" + "0001630164" + "1001650166" + "be" + "90", ("a", "b"), ("c", "d"), ("e", "f"), ("a", "b"), ("accept-encoding", "gzip, deflate"))),
        Decodes("7541 3.2.1", "an index of an entry that the same block has made", "A literal that is kept is in the table for what follows in the same block.", new FieldBlock("", "4001610162bebebe", ("a", "b"), ("a", "b"), ("a", "b"), ("a", "b"))),
        Decodes("7541 3.2.1", "a literal that is not kept", "It is not added to the table: the index stays that of the one before.", new FieldBlock("", "4001610162" + "0001630164" + "1001650166", ("a", "b"), ("c", "d"), ("e", "f")), new FieldBlock("", "be", ("a", "b"))),
        Fails("7541 3.2", "a block that ends within an index", Broken, "ff"),
        Fails("7541 3.2", "a block that ends behind the head of a literal", Broken, "40"),
        Fails("7541 3.2", "a block that ends within a name", Broken, "400261"),
        Fails("7541 3.2", "a block that ends behind a name", Broken, "400161"),
        Fails("7541 3.2", "a block that ends within a value", Broken, "4001610262"),
        Fails("7541 3.2", "a block that ends within the length of a value", Broken, "4001617f"),
        Fails("7541 3.2", "a block that ends within a size update", Broken, "3f"),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
