using static Mesh.Hbone.Conformance.FieldBlocks;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 7541, section 6: the representations.</summary>
public sealed class Hpack6_BinaryFormatTests
{
    private static readonly ConformanceTable Cases =
    [
        Decodes("7541 6.1", "an indexed field of the static table", "An indexed field is the entry of the table.", new FieldBlock("", "90", ("accept-encoding", "gzip, deflate"))),
        Fails("7541 6.1", "an indexed field with index 0", "Index 0 is not used; it MUST be treated as a decoding error.", "80"),
        Fails("7541 6.1", "an indexed field with index 0 behind good ones", "Index 0 is not used; it MUST be treated as a decoding error.", "8490be80"),
        Fails("7541 6.1", "an indexed field beyond the tables", "An index beyond the tables MUST be treated as a decoding error (section 2.3.3).", "ff00"),
        Decodes("7541 6.2.1", "a literal to be kept, its name of the table", "The name is that of the entry, the value a string.", new FieldBlock("", "60" + "0162" + "be", ("cookie", "b"), ("cookie", "b"))),
        Decodes("7541 6.2.1", "a literal to be kept, with a new name", "Index 0 stands for a name as a string.", new FieldBlock("", "40" + "0161" + "0162" + "be", ("a", "b"), ("a", "b"))),
        Decodes("7541 6.2.2", "a literal not to be kept, its name of the table", "The name is that of the entry; the table stays as it is.", new FieldBlock("", "0f11" + "0162", ("cookie", "b"))),
        Decodes("7541 6.2.2", "a literal not to be kept, with a new name", "Index 0 stands for a name as a string; the table stays as it is.", new FieldBlock("", "00" + "0161" + "0162", ("a", "b"))),
        Fails("7541 6.2.2", "a literal not to be kept, and an index", "The table stays as it is: there is no such entry.", "00" + "0161" + "0162" + "be"),
        Decodes("7541 6.2.3", "a literal never to be kept, its name of the table", "It differs from one not to be kept only for who forwards it.", new FieldBlock("", "1f11" + "0162", ("cookie", "b"))),
        Decodes("7541 6.2.3", "a literal never to be kept, with a new name", "It differs from one not to be kept only for who forwards it.", new FieldBlock("", "10" + "0161" + "0162", ("a", "b"))),
        Fails("7541 6.2.3", "a literal never to be kept, and an index", "The table stays as it is: there is no such entry.", "10" + "0161" + "0162" + "be"),
        Decodes("7541 6.2.1", "a literal, its name of the dynamic table", "Names can be those of either table.", new FieldBlock("", "4001610162" + "7e0163" + "bebf", ("a", "b"), ("a", "c"), ("a", "c"), ("a", "b"))),
        Decodes("7541 6.3", "a size update to the limit", "A new maximum MUST be lower than or equal to the limit.", new FieldBlock("3fe11f", "")),
        Decodes("7541 6.3", "a size update to 0", "A maximum can be 0.", new FieldBlock("20", "")),
        Fails("7541 6.3", "a size update over the limit", "A value over the limit MUST be treated as a decoding error.", "3fe21f"),
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
