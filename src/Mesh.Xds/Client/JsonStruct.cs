using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Google.Protobuf.WellKnownTypes;
using Value = Google.Protobuf.WellKnownTypes.Value;

namespace Mesh.Xds.Client;

/// <summary>JSON as google.protobuf.Struct.</summary>
internal static class JsonStruct
{
    public static Struct Of(JsonObject json)
    {
        var result = new Struct();
        foreach (var (name, value) in json)
        {
            result.Fields.Add(name, Of(value));
        }

        return result;
    }

    private static Value Of(JsonNode? node) => node switch
    {
        null => Value.ForNull(),
        JsonObject json => Value.ForStruct(Of(json)),
        JsonArray array => Value.ForList([.. array.Select(Of)]),
        _ => node.GetValueKind() switch
        {
            JsonValueKind.True => Value.ForBool(true),
            JsonValueKind.False => Value.ForBool(false),
            JsonValueKind.Number => Value.ForNumber(double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture)),
            JsonValueKind.String => Value.ForString(node.GetValue<string>()),
            var kind => throw new ArgumentOutOfRangeException(nameof(node), kind, "a JSON value of no known kind"),
        },
    };
}
